"""The doorbell: heard in other connections of the same database, and missed without harm."""

import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from app.db.session import SessionFactory, create_sessions, transaction
from app.delivery import bell as bell_module
from app.delivery.bell import Bell, Listener

PATIENCE_SECONDS = 60.0
END_THE_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@pytest.fixture
def listener(sessions: SessionFactory) -> Iterator[Listener]:
    """One that listens already."""
    listener = Listener(sessions)
    assert listener.wait(PATIENCE_SECONDS), "it has begun to listen"
    yield listener
    listener.close()


def test_a_ring_is_heard(sessions: SessionFactory, listener: Listener) -> None:
    Bell(sessions).ring()

    assert listener.wait(PATIENCE_SECONDS)


def test_many_rings_are_heard_as_one(sessions: SessionFactory, listener: Listener) -> None:
    for _ in range(3):
        Bell(sessions).ring()
    assert listener._connection is not None
    listener._connection.execute(text("SELECT 1"))  # before it is answered, all of them have come
    Bell(sessions).ring()

    heard = [listener.wait(PATIENCE_SECONDS), listener.wait(0.05)]

    assert heard == [True, False]


def test_without_a_ring_the_wait_ends_after_its_time(listener: Listener) -> None:
    assert not listener.wait(0.01)


def test_a_wait_can_be_interrupted(listener: Listener) -> None:
    interrupting = threading.Timer(0.05, listener.interrupt)
    started = time.monotonic()

    interrupting.start()
    is_rung = listener.wait(PATIENCE_SECONDS)

    assert not is_rung
    assert time.monotonic() - started < PATIENCE_SECONDS / 2


def test_interrupting_without_end_blocks_nobody(listener: Listener) -> None:
    for _ in range(10_000):
        listener.interrupt()

    assert not listener.wait(PATIENCE_SECONDS)


def test_a_lost_connection_is_renewed(
    sessions: SessionFactory, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bell_module, "RECONNECT_AFTER_SECONDS", 0.0)
    with transaction(sessions) as session:
        session.execute(text(END_THE_OTHERS))

    # First comes the server's farewell, then the end of the connection, then a new one.
    is_renewed = any(listener.wait(PATIENCE_SECONDS) for _ in range(3))
    Bell(sessions).ring()

    assert is_renewed
    assert listener.wait(PATIENCE_SECONDS)


def test_a_database_that_is_away_is_no_error_for_either_side() -> None:
    nowhere = create_sessions("postgresql://push:a-password@127.0.0.1:1/push")
    listener = Listener(nowhere)

    with capture_logs() as logs:
        Bell(nowhere).ring()
        is_rung = listener.wait(0.01)
    listener.close()

    assert not is_rung
    assert [line["event"] for line in logs] == ["workers not rung; they look for themselves"]


def test_ringing_takes_no_time_to_speak_of(sessions: SessionFactory, listener: Listener) -> None:
    bell = Bell(sessions)
    bell.ring()  # connects
    seconds = []
    for _ in range(50):
        started = time.perf_counter()
        bell.ring()
        seconds.append(time.perf_counter() - started)

    assert sorted(seconds)[25] < 0.1  # a tenth of a millisecond or two, on a machine that does nothing else
