"""Embedded workers: of all API processes of a machine one keeps a set, and another takes over when it goes."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import text

from app.db.session import SessionFactory, create_sessions, transaction
from app.settings import Settings
from app.workers import embedded
from app.workers.embedded import EmbeddedWorkers, machine_lock_key
from app.workers.leader import Leader
from tests.support.databases import dispose
from tests.support.waiting import until

END_THE_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class FakeSupervisor:
    """Notes whether its workers would run."""

    def __init__(self, _settings: Settings, count: int) -> None:
        self.count = count
        self.is_running = False
        self.was_stopped = False

    def start(self) -> None:
        self.is_running = True

    def stop(self, _patience_seconds: float) -> None:
        self.is_running = False
        self.was_stopped = True


class ApiProcess:
    """An API process as far as its workers go, with a pool of its own."""

    def __init__(self, settings: Settings, url: str) -> None:
        self.sets: list[FakeSupervisor] = []
        self.sessions = create_sessions(url)
        self.workers = EmbeddedWorkers(settings, self.sessions, create_supervisor=self._create)  # type: ignore[arg-type]
        self.workers.start()

    def _create(self, settings: Settings, count: int) -> FakeSupervisor:
        self.sets.append(FakeSupervisor(settings, count))
        return self.sets[-1]

    @property
    def has_workers(self) -> bool:
        return any(each.is_running for each in self.sets)

    def stop(self) -> None:
        self.workers.stop()
        dispose(self.sessions)


@pytest.fixture
def start(settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Starts API processes over the test's database; they are stopped after the test."""
    monkeypatch.setattr(embedded, "LOOK_EVERY_SECONDS", 0.02)
    monkeypatch.setattr(embedded, "default_worker_count", lambda: 3)
    started: list[ApiProcess] = []

    def start(url: str = database_url) -> ApiProcess:
        started.append(ApiProcess(settings, url))
        return started[-1]

    yield start
    for each in started:
        each.stop()


def end_connections(sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        session.execute(text(END_THE_OTHERS))


def holder(sessions: SessionFactory) -> int | None:
    """The backend that holds an advisory lock of this test's database, if one does."""
    locks = "SELECT pid FROM pg_locks JOIN pg_database ON oid = database AND datname = current_database()"
    with transaction(sessions) as session:
        return session.scalars(text(f"{locks} WHERE locktype = 'advisory'")).one_or_none()


def test_one_process_keeps_a_set_for_all(start: Callable[..., ApiProcess], monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[SessionFactory] = []
    leads = Leader.leads

    def note(leader: Leader, sessions: SessionFactory) -> bool:
        answer = leads(leader, sessions)
        if not answer:
            refused.append(sessions)
        return answer

    monkeypatch.setattr(Leader, "leads", note)
    first = start()
    until(lambda: first.has_workers)

    second = start()
    until(lambda: len(refused) >= 3)

    assert [each.count for each in first.sets] == [3]
    assert second.sets == []
    assert set(refused) == {second.sessions}


def test_another_process_takes_over_once_the_workers_of_the_first_have_ended(
    start: Callable[..., ApiProcess],
) -> None:
    first = start()
    until(lambda: first.has_workers)
    second = start()

    first.stop()
    until(lambda: second.has_workers)

    assert [each.was_stopped for each in first.sets] == [True]


def test_who_lost_the_database_for_a_moment_keeps_its_set(
    start: Callable[..., ApiProcess], sessions: SessionFactory
) -> None:
    first = start()
    until(lambda: first.has_workers)
    before = holder(sessions)

    end_connections(sessions)
    until(lambda: holder(sessions) not in {before, None})

    assert len(first.sets) == 1
    assert first.has_workers


def test_who_lost_the_lock_to_another_stops_its_set(
    start: Callable[..., ApiProcess], sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start()
    until(lambda: first.has_workers)
    another = Leader(machine_lock_key())
    leads = Leader.leads

    def lose_the_race(leader: Leader, of: SessionFactory) -> bool:
        monkeypatch.setattr(Leader, "leads", leads)
        end_connections(sessions)
        until(lambda: another.leads(sessions))
        return leader.leads(of)

    monkeypatch.setattr(Leader, "leads", lose_the_race)
    until(lambda: not first.has_workers)
    another.resign()

    until(lambda: first.has_workers)
    assert [each.was_stopped for each in first.sets] == [True, False]


def test_a_database_that_is_away_keeps_nobody_waiting(start: Callable[..., ApiProcess]) -> None:
    process = start("postgresql://push:a-password@127.0.0.1:1/push")

    process.stop()

    assert process.sets == []


def test_machines_of_different_names_have_locks_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for name in ("web-1", "web-2", "web-1"):
        monkeypatch.setattr(socket, "gethostname", lambda name=name: name)
        keys.add(machine_lock_key())

    assert len(keys) == 2
    assert all(-(2**63) <= key < 2**63 for key in keys)
