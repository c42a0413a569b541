"""The database's disk is full: the service says so, answers 503, and what was begun goes on when there is room."""

from collections import Counter
from contextlib import closing
from dataclasses import replace

import psycopg2
import pytest
from fastapi.testclient import TestClient
from psycopg2.sql import SQL, Identifier
from sqlalchemy import event, select

from app.db.session import PASSING_ERRORS, engine_of, transaction
from app.delivery import run
from app.health import checks
from app.models import DeliveryLog, DeliveryStatus
from tests.integration.test_delivery_faults import finish_over_days
from tests.support.delivery import send
from tests.support.full_disk import RefusedWrites
from tests.support.senders import UNAVAILABLE, ScriptedSender

AUDIENCE = 6
REFUSE = "DO $$ BEGIN RAISE 'No space left on device' USING ERRCODE = 'disk_full'; END $$"


def test_health_says_so_though_what_only_reads_is_answered(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_TAKE_ROOM", REFUSE)

    answer = client.get("/health/")

    assert answer.status_code == 503
    database = answer.json()["dependencies"]["database"]
    assert (database["status"], database["detail"]) == ("down", "Its disk is full: make room.")


def test_a_limit_on_temporary_files_is_no_full_disk(client: TestClient, database_url: str) -> None:
    with closing(psycopg2.connect(database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        [name] = cursor.fetchone() or ("",)
        cursor.execute(SQL("ALTER DATABASE {} SET temp_file_limit = '8kB'").format(Identifier(name)))

    answer = client.get("/health/")

    assert answer.json()["dependencies"]["database"]["status"] == "ok"


def test_a_request_that_would_store_something_is_a_clear_503(
    client: TestClient, database_url: str, service_headers: dict[str, str]
) -> None:
    disk = RefusedWrites(database_url)
    notification = {"title": "Hello", "body": "Is there room?"}

    disk.fill()
    refused = client.post("/notifications/broadcast/", json=notification, headers=service_headers)
    read = client.get("/notifications/history/", headers=service_headers)
    disk.free()
    stored = client.post("/notifications/broadcast/", json=notification, headers=service_headers)

    assert refused.status_code == 503
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert int(refused.headers["Retry-After"]) > 0
    assert (read.status_code, read.json()["total"]) == (200, 0)
    assert stored.status_code == 200


class FullAtOneStep:
    """Lets the n-th statement (from 1) fail for want of room, once."""

    def __init__(self, sessions):
        self.steps = 0
        self._fails_at = None
        event.listen(engine_of(sessions), "before_cursor_execute", self._step, retval=True)

    def at(self, step):
        self.steps, self._fails_at = 0, step

    def _step(self, _connection, _cursor, statement, parameters, _context, _many):
        self.steps += 1
        return (REFUSE, ()) if self.steps == self._fails_at else (statement, parameters)


def test_a_disk_full_at_any_step_of_a_send_loses_nobody(pipeline, subscribe, monkeypatch):
    monkeypatch.setattr(run, "FIRST_WAIT_SECONDS", 0.001)
    sender = ScriptedSender([UNAVAILABLE])
    pipeline = replace(pipeline, sender=sender)
    disk = FullAtOneStep(pipeline.sessions)
    subscribe(AUDIENCE)
    disk.at(None)
    send(pipeline)
    steps = disk.steps
    finish_over_days(pipeline)
    assert steps > 15

    for step in range(1, steps + 1):
        sender.start_again()
        disk.at(step)

        try:
            sent = send(pipeline)
        except PASSING_ERRORS:
            assert not sender.posted, f"step {step}: refused, but something was posted"
            continue
        finally:
            disk.at(None)
        finish_over_days(pipeline)

        with transaction(pipeline.sessions) as session:
            of_it = select(DeliveryLog.status).where(DeliveryLog.notification_id == sent.notification.id)
            counts = Counter(session.scalars(of_it))
        assert counts == {DeliveryStatus.SENT: AUDIENCE}, f"step {step}"
