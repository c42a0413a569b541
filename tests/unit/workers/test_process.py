"""A worker process, in this one: what it says and returns. tests/drill/test_workers.py runs real ones."""

import threading
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from app.db import embedded
from app.db.embedded import EmbeddedPostgresUnavailable
from app.observability import metrics
from app.workers import process
from app.workers.ending import EndOfWork
from app.workers.loop import DeliveryLoop
from tests.support.api import SettingsFactory
from tests.support.delivery import NOTHING_INLINE, SECRET_KEY, send
from tests.unit.test_imports import HTTP, imports


class End:
    """An end that comes when the test says so."""

    def __init__(self) -> None:
        self.has_come = threading.Event()

    def wait(self) -> None:
        assert self.has_come.wait(60)


def run(settings: Any, end: End) -> int:
    return process.run(settings, cast(EndOfWork, end))


@pytest.fixture(autouse=True)
def _no_worker_is_left_in_the_metrics():
    yield
    metrics.worker_processes.set(0)


def test_it_delivers_until_it_is_told_to_end(pipeline, subscribe, make_settings, database_url, push_ca_file):
    [subscriber] = subscribe()
    send(pipeline, limits=NOTHING_INLINE)
    settings = make_settings(database_url=database_url, secret_key=SECRET_KEY, push_ca_file=push_ca_file)
    end = End()
    codes: list[int] = []
    worker = threading.Thread(target=lambda: codes.append(run(settings, end)))

    worker.start()
    subscriber.browser.wait_for(1)
    end.has_come.set()
    worker.join(60)

    assert codes == [0]
    assert subscriber.log.status == "sent"


def test_what_keeps_it_from_starting_is_in_the_log(
    make_settings: SettingsFactory, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_data_dir: Path) -> str:
        raise EmbeddedPostgresUnavailable("the disk is full.")

    monkeypatch.setattr(embedded, "database_url", refuse)
    no_ca_file = make_settings(database_url=database_url).model_copy(update={"push_ca_file": Path("/nowhere/ca")})

    with capture_logs() as logs:
        codes = [run(make_settings(database_url=None), End()), run(no_ca_file, End())]

    assert codes == [1, 1]
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["worker cannot start"] * 2
    assert "the disk is full." in logs[0]["reason"]


def test_what_does_not_end_in_time_is_left_to_the_leases(
    make_settings: SettingsFactory, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(DeliveryLoop, "stop", lambda _self, _patience_seconds: False)
    monkeypatch.setattr(DeliveryLoop, "start", lambda _self: None)
    monkeypatch.setattr(process, "_end_at_once", ended.append)
    end = End()
    end.has_come.set()

    with capture_logs() as logs:
        run(make_settings(database_url=database_url), end)

    assert ended == [0]
    assert "sent again once their lease is over" in logs[-1]["event"]


def test_a_worker_needs_no_web_framework() -> None:
    reached, ahead = set(), {"app.workers.process"}
    while ahead:
        module = ahead.pop()
        reached.add(module)
        ahead |= {each.imported for each in imports() if each.importer == module} - reached

    assert "app.delivery.run" in reached
    assert not reached & HTTP
