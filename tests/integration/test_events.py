"""Progress as Server-Sent Events, from a real server to real connections."""

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest
import uvicorn
from alembic import command
from fastapi import FastAPI
from sqlalchemy import QueuePool, func, update
from structlog.testing import capture_logs

from app.db.session import SessionFactory, create_sessions, database_now, engine_of, transaction
from app.ids import new_id
from app.main import create_app
from app.models import BatchState, DeliveryBatch, DeliveryLog, DeliveryStatus, Notification, NotificationState
from app.notifications import events as feed
from tests.support.api import API_KEY, SERVICE_HEADERS, LiveServer, LiveServerFactory, SettingsFactory
from tests.support.databases import StoppablePostgres, alembic_config, create_database, dispose
from tests.support.events import Event, listening
from tests.support.ledger import add_deliveries, add_notification, add_tenant
from tests.support.metric_samples import Samples
from tests.support.ports import free_port
from tests.support.waiting import until

GUNICORN = Path(__file__).parents[2] / "docker" / "gunicorn.conf.py"
WAYS_TO_SERVE = {
    "serve": ["app.cli", "serve", "--port", "{port}"],
    "uvicorn": ["uvicorn", "app.main:app", "--port", "{port}"],
    "reload": ["uvicorn", "app.main:app", "--reload", "--port", "{port}"],
    "gunicorn": ["gunicorn", "-c", str(GUNICORN), "-b", "127.0.0.1:{port}", "app.main:app"],
}


@pytest.fixture
def notification_id(sessions: SessionFactory) -> UUID:
    """Of three pending deliveries, in one batch."""
    with transaction(sessions) as session:
        return add_deliveries(session, planned_at=database_now(session), counts={"pending": 3})


def finish(sessions: SessionFactory) -> None:
    """Let everybody have been sent to."""
    with transaction(sessions) as session:
        session.execute(update(DeliveryLog).values(status=DeliveryStatus.SENT))
        session.execute(update(DeliveryBatch).values(state=BatchState.CLOSED, closed_at=func.now()))
        session.execute(update(Notification).values(state=NotificationState.SENT, finished_at=func.now()))


def path_of(notification_id: UUID) -> str:
    return f"/notifications/{notification_id}/events"


@pytest.fixture
def served(app: FastAPI) -> Iterator[str]:
    """The app in this process, behind a real server; its URL."""
    with serving(app) as url:
        yield url


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=(port := free_port()), log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started or not thread.is_alive(), "the server starts")
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def test_a_listener_hears_how_it_goes_until_it_is_over(
    served: str, sessions: SessionFactory, notification_id: UUID
) -> None:
    with listening(served, path_of(notification_id)) as (answer, events):
        first = next(events)
        finish(sessions)
        last, end = list(events)[-2:]

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-store", "no")
    assert "content-length" not in answer.headers
    nothing_yet = {"sent": 0, "delivered": 0, "failed": 0, "expired": 0, "finished_at": None}
    pace = {"rate_per_second": None, "seconds_left": None}
    told = {"id": str(notification_id), "status": "sending", "targeted": 3, "pending": 3, **nothing_yet, **pace}
    assert first == Event("progress", told, retry=2000)
    assert (last.name, end.name) == ("progress", "end")
    assert last.data == end.data
    assert {name: end.data[name] for name in ("status", "pending", "sent")} == {
        **{"status": "sent", "pending": 0, "sent": 3}
    }
    assert end.data["finished_at"] is not None


def test_the_events_say_what_the_notification_says(served: str, notification_id: UUID) -> None:
    shown = httpx.get(f"{served}/notifications/{notification_id}/", headers=dict(SERVICE_HEADERS)).json()

    with listening(served, path_of(notification_id)) as (_, events):
        told = next(events).data

    assert told.items() <= shown.items()


def test_one_that_is_finished_is_told_and_ended_at_once(
    served: str, sessions: SessionFactory, notification_id: UUID
) -> None:
    finish(sessions)

    with listening(served, path_of(notification_id) + "/") as (_, events):
        names = [event.name for event in events]

    assert names == ["progress", "end"]


def test_one_that_is_cancelled_ends_when_all_are_settled(
    served: str, sessions: SessionFactory, notification_id: UUID
) -> None:
    with listening(served, path_of(notification_id)) as (_, events):
        next(events)
        httpx.post(f"{served}/notifications/{notification_id}/cancel", headers=dict(SERVICE_HEADERS))
        marked = next(events)
        with transaction(sessions) as session:
            session.execute(update(Notification).values(finished_at=func.now()))
        end = list(events)[-1]

    assert (marked.name, marked.data["status"], marked.data["pending"]) == ("progress", "cancelled", 3)
    assert (end.name, end.data["status"]) == ("end", "cancelled")


def test_what_is_not_there_or_not_yours_is_a_problem(served: str, sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        theirs = add_notification(session, add_tenant(session, "other"), state=NotificationState.SENDING)

    answers = [httpx.get(served + path_of(each), headers=dict(SERVICE_HEADERS)) for each in (new_id(), theirs)]
    unproven = httpx.get(served + path_of(theirs))

    assert [answer.status_code for answer in answers] == [404, 404]
    assert {answer.json()["type"] for answer in answers} == {"/problems/notification-not-found"}
    assert unproven.status_code == 401


def test_head_is_answered_without_listening(served: str, app: FastAPI, notification_id: UUID) -> None:
    with httpx.Client(headers=dict(SERVICE_HEADERS)) as client:
        answer = client.head(served + path_of(notification_id))
        again = client.get(f"{served}/notifications/{notification_id}/")

    assert (answer.status_code, answer.content) == (200, b"")
    assert again.status_code == 200
    until(lambda: app.state.progress_feed.listeners == 0, "nobody listens")


def test_who_leaves_is_forgotten(served: str, app: FastAPI, notification_id: UUID) -> None:
    with listening(served, path_of(notification_id)) as (_, events):
        next(events)
        meanwhile = app.state.progress_feed.listeners
        told = Samples(httpx.get(f"{served}/metrics/", timeout=60).text).value("push_event_listeners")

    until(lambda: app.state.progress_feed.listeners == 0, "the listener is forgotten")
    assert (meanwhile, told) == (1, 1)


def test_listening_holds_no_connection_to_the_database(served: str, app: FastAPI, notification_id: UUID) -> None:
    pool = engine_of(app.state.sessions).pool
    assert isinstance(pool, QueuePool)

    with listening(served, path_of(notification_id)) as (_, events):
        next(events)

        until(lambda: pool.checkedout() == 0, "every connection is given back")


def test_many_may_come_at_once(served: str, notification_id: UUID) -> None:
    """More than there are threads and connections to the database: nobody holds one and waits for the other."""
    request = f"GET {path_of(notification_id)} HTTP/1.1\r\nHost: here\r\nX-API-Key: {API_KEY}\r\n\r\n"

    async def status() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(served).port)
        writer.write(request.encode())
        answer = await reader.readline()
        writer.close()
        return answer

    async def all_at_once() -> list[bytes]:
        return await asyncio.gather(*(status() for _ in range(300)))

    assert set(asyncio.run(all_at_once())) == {b"HTTP/1.1 200 OK\r\n"}


def test_a_database_that_is_away_is_waited_for(
    make_settings: SettingsFactory, stoppable_postgres: StoppablePostgres
) -> None:
    url = create_database(stoppable_postgres.url, "push")
    command.upgrade(alembic_config(url), "head")
    sessions = create_sessions(url)
    with transaction(sessions) as session:
        notification_id = add_deliveries(session, planned_at=database_now(session), counts={"pending": 3})

    with (
        capture_logs() as logs,
        serving(create_app(make_settings(database_url=url))) as served,
        listening(served, path_of(notification_id)) as (_, events),
    ):
        next(events)
        stoppable_postgres.stop(gently=True)
        until(lambda: "listeners wait for the database" in {line["event"] for line in logs}, "it is noticed")
        stoppable_postgres.start()
        finish(sessions)
        names = [event.name for event in events if event.comment is None]
    dispose(sessions)

    assert names == ["progress", "end"]


def test_a_sign_of_life_comes_while_nothing_happens(
    served: str, notification_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "KEEP_ALIVE_SECONDS", 0.01)

    with listening(served, path_of(notification_id)) as (_, events):
        next(events)
        sign = next(events)

    assert sign == Event(comment="still here")


def test_too_many_listeners_are_a_problem(served: str, app: FastAPI, notification_id: UUID) -> None:
    app.state.progress_feed._most_listeners = 1

    with listening(served, path_of(notification_id)) as (_, events):
        next(events)
        refused = httpx.get(served + path_of(notification_id), headers=dict(SERVICE_HEADERS))

    assert refused.status_code == 503
    assert refused.json()["type"] == "/problems/too-many-listeners"
    assert refused.headers["retry-after"]


def test_listening_is_measured_until_the_answer_begins(
    served: str, sessions: SessionFactory, notification_id: UUID
) -> None:
    count_before, seconds_before = measured(served)

    connected_at = time.perf_counter()
    with listening(served, path_of(notification_id)) as (_, events):
        next(events)
        seconds_to_first = time.perf_counter() - connected_at
        finish(sessions)
        list(events)

    until(lambda: measured(served)[0] == count_before + 1, "the request is measured")
    assert measured(served)[1] - seconds_before <= seconds_to_first


def measured(url: str) -> tuple[float, float]:
    """Return how many requests to listen were measured, and how long they took together."""
    samples = Samples(httpx.get(f"{url}/metrics/", timeout=60).text)
    name, labels = "push_http_request_duration_seconds", {"route": "/notifications/{notification_id}/events"}
    return samples.value(f"{name}_count", **labels) or 0, samples.value(f"{name}_sum", **labels) or 0


@pytest.mark.parametrize("way", list(WAYS_TO_SERVE))
def test_a_server_with_listeners_stops_in_order(
    start_server: LiveServerFactory, notification_id: UUID, way: str
) -> None:
    server = start_server(WAYS_TO_SERVE[way], WEB_CONCURRENCY="1")

    with listening(server.url, path_of(notification_id)) as (_, events):
        next(events)
        server.process.send_signal(signal.SIGTERM)
        rest = [event.name for event in events]

    assert set(rest) <= {"progress"}, "the stream is closed, and has not come to its end"
    assert stops_in_order(server)


def stops_in_order(server: LiveServer) -> bool:
    exit_code = server.stop()
    output = server.output()
    faults = ("Traceback", "graceful shutdown exceeded", "SIGKILL", "[ERROR]")
    assert not [fault for fault in faults if fault in output], output
    return exit_code in {0, -signal.SIGTERM}
