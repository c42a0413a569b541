"""/health: what it says of each part, and that it answers whatever the parts do."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import httpx
import psycopg2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy import text
from structlog.testing import capture_logs

from app import __version__
from app.db.session import SessionFactory, create_sessions, engine_of
from app.health import checks
from app.health.postgres_probe import PostgresProbe
from app.main import create_app
from app.models import DEFAULT_TENANT_ID
from app.settings import Settings
from tests.support.api import SERVICE_HEADERS, LiveServerFactory, SettingsFactory
from tests.support.valkey import ValkeyServer
from tests.support.waiting import until

PASSWORD = "db-pass-word"
REQUEST_THREADS = 40  # what anyio gives to request handlers


@pytest.fixture(autouse=True)
def never_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CACHE_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a busy machine keeps from answering is not taken for something that is down."""
    monkeypatch.setattr(checks, "TIMEOUT_SECONDS", 60.0)


@pytest.fixture
def own_port() -> Iterator[int]:
    """A port where nobody listens, and nobody else will."""
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextmanager
def client_of(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings)) as client:
        yield client


def execute(database_url: str, *statements: str) -> None:
    with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        for statement in statements:
            cursor.execute(statement)


def test_a_sound_service_says_so(client: TestClient) -> None:
    answer = client.get("/health/")

    report = answer.json()
    assert (answer.status_code, report["status"], report["version"]) == (200, "ok", __version__)
    assert report["uptime_seconds"] >= 0
    assert {name: part["status"] for name, part in report["dependencies"].items()} == {
        "database": "ok",
        "migrations": "ok",
        "workers": "ok",
        "audience": "ok",
        "redis": "not configured",
    }
    assert 0 < report["dependencies"]["database"]["latency_ms"] < 60_000


@pytest.mark.parametrize("path", ["/health", "/health/", "/health/live", "/health/live/", "/health/ready"])
def test_it_answers_without_credentials_in_both_forms(client: TestClient, path: str) -> None:
    answer = client.get(path)

    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_database_that_refuses_connections_is_down(make_settings: SettingsFactory, own_port: int) -> None:
    url = f"postgresql://someone:{PASSWORD}@127.0.0.1:{own_port}/push"

    with client_of(make_settings(database_url=url)) as client, capture_logs() as logs:
        health, ready, live = (client.get(path) for path in ("/health/", "/health/ready", "/health/live"))

    assert (health.status_code, health.json()["status"]) == (503, "unhealthy")
    assert health.json()["dependencies"]["database"] == {
        "status": "down",
        "latency_ms": None,
        "detail": "It cannot be connected to.",
    }
    assert (ready.status_code, ready.json()) == (503, {"status": "unhealthy"})
    assert (live.status_code, live.json()) == (200, {"status": "ok"})
    assert not [word for word in (PASSWORD, "someone", "127.0.0.1", str(own_port)) if word in health.text]
    (change,) = [
        line for line in logs if line["event"] == "dependency changed" and line["dependency"] == "database"
    ]
    assert "refused" in change["cause"], "the operator learns why"
    assert PASSWORD not in str(logs)


def test_a_wrong_password_is_down_and_not_shown(make_settings: SettingsFactory, database_url: str) -> None:
    user, _, place = database_url.partition("@")
    url = f"{user.rpartition(':')[0]}:{PASSWORD}@{place}"

    with client_of(make_settings(database_url=url)) as client:
        answer = client.get("/health/")

    assert answer.status_code == 503
    assert "postgres" not in answer.text
    assert PASSWORD not in answer.text


@contextmanager
def silent_server() -> Iterator[int]:
    """A server that takes connections and never says a word, like a database that is halted."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener, ExitStack() as stack:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                stack.callback(connection.close)

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_a_database_that_hangs_does_not_hang_health(
    make_settings: SettingsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "TIMEOUT_SECONDS", 2.0)
    with silent_server() as port:
        url = f"postgresql://push@127.0.0.1:{port}/push"
        app = create_app(make_settings(database_url=url))
        app.state.sessions = create_sessions(url)
        client = TestClient(app)  # not entered: starting would wait for this database
        started = time.monotonic()

        answer = client.get("/health/")

        assert time.monotonic() - started < 20
        assert answer.status_code == 503
        assert answer.json()["dependencies"]["database"]["detail"] == "No answer within 2 s."


def test_a_pool_that_is_exhausted_does_not_hang_health(client: TestClient, app: FastAPI) -> None:
    sessions: SessionFactory = app.state.sessions
    with ExitStack() as stack:
        pool: Any = engine_of(sessions).pool
        while pool.checkedout() < pool.size() + pool._max_overflow:
            stack.enter_context(sessions()).execute(text("SELECT 1"))
        answer = client.get("/health/")

    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_requests_that_all_wait_for_the_database_do_not_hang_health(
    start_server: LiveServerFactory, database_url: str
) -> None:
    server = start_server()
    with (
        closing(psycopg2.connect(database_url)) as locking,
        locking.cursor() as cursor,
        ThreadPoolExecutor(REQUEST_THREADS) as browsers,
    ):
        cursor.execute("LOCK TABLE push_notifications IN ACCESS EXCLUSIVE MODE")
        waiting = [
            browsers.submit(
                httpx.get, f"{server.url}/notifications/history/", headers=dict(SERVICE_HEADERS), timeout=120
            )
            for _ in range(REQUEST_THREADS)
        ]
        wait_until_locked_out(database_url)
        started = time.monotonic()

        health = httpx.get(f"{server.url}/health/", timeout=60)
        metrics = httpx.get(f"{server.url}/metrics/", timeout=60)

        assert time.monotonic() - started < 40
        assert (health.status_code, metrics.status_code) == (200, 200)
        assert not any(answer.done() and answer.result().is_success for answer in waiting)
        locking.rollback()


def wait_until_locked_out(database_url: str) -> None:
    """Return once a request waits for the lock."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'push_notifications'::regclass"
    with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True

        def are_waiting() -> bool:
            cursor.execute(waiting)
            row = cursor.fetchone()
            return row is not None and row[0] > 5

        until(are_waiting, "requests wait for the lock")


def test_a_flood_of_questions_asks_the_database_once(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CACHE_SECONDS", 60.0)
    connections: list[int] = []
    connect = PostgresProbe.__init__

    def count(probe: PostgresProbe, *arguments: Any, **options: Any) -> None:
        connections.append(1)
        connect(probe, *arguments, **options)

    monkeypatch.setattr(PostgresProbe, "__init__", count)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.get("/health/").status_code, range(24)))

    assert answers == [200] * 24
    assert len(connections) == 1


def migrations_of(answer: Response) -> dict[str, Any]:
    part: dict[str, Any] = answer.json()["dependencies"]["migrations"]
    return part


def test_a_database_without_our_tables_needs_migrating(
    make_settings: SettingsFactory, empty_database_url: str
) -> None:
    with client_of(make_settings(database_url=empty_database_url)) as client:
        answer, ready = client.get("/health/"), client.get("/health/ready")

    assert (answer.status_code, ready.status_code) == (503, 503)
    assert migrations_of(answer)["status"] == "down"
    assert "alembic upgrade head" in migrations_of(answer)["detail"]
    assert answer.json()["dependencies"]["database"]["status"] == "ok"


def test_a_schema_that_is_behind_needs_migrating(
    client: TestClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_revisions", lambda: ("0009", frozenset({"0001", "0008", "0009"})))
    execute(database_url, "UPDATE push_alembic_version SET version_num = '0008'")

    answer = client.get("/health/")

    assert answer.status_code == 503
    assert migrations_of(answer)["detail"] == "The schema is at 0008, not 0009: run alembic upgrade head."


def test_a_schema_of_a_newer_release_is_fine_while_it_is_rolled_out(client: TestClient, database_url: str) -> None:
    execute(database_url, "UPDATE push_alembic_version SET version_num = '9999'")

    answer = client.get("/health/")

    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert "newer" in migrations_of(answer)["detail"]


def test_without_redis_it_serves_but_says_so(
    make_settings: SettingsFactory, database_url: str, stoppable_valkey: ValkeyServer
) -> None:
    settings = make_settings(database_url=database_url, redis_url=stoppable_valkey.url)
    with client_of(settings) as client:
        before = client.get("/health/").json()
        stoppable_valkey.stop()
        without = client.get("/health/")
        ready = client.get("/health/ready")
        stoppable_valkey.start()
        after = client.get("/health/").json()

    assert (before["status"], before["dependencies"]["redis"]["status"]) == ("ok", "ok")
    assert (without.status_code, without.json()["status"]) == (200, "degraded")
    assert without.json()["dependencies"]["redis"]["status"] == "down"
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert (after["status"], after["dependencies"]["redis"]["status"]) == ("ok", "ok")
    assert stoppable_valkey.url.split("/")[2] not in without.text


def test_deliveries_that_nobody_takes_are_noticed(
    client: TestClient, database_url: str, service_headers: dict[str, str]
) -> None:
    client.get("/vapid/public-key")
    execute(database_url, *A_BATCH_DUE_FOR_TEN_MINUTES)

    answer = client.get("/health/")

    workers = answer.json()["dependencies"]["workers"]
    assert (answer.status_code, answer.json()["status"], workers["status"]) == (200, "degraded", "degraded")
    assert "600 s" in workers["detail"]


@pytest.mark.parametrize(
    "change",
    [
        "SET not_before = now() + interval '1 hour'",
        "SET not_before = now() - interval '1 minute'",
        "SET state = 'closed'",
        "SET state = 'leased', lease_token = gen_random_uuid(), leased_until = now() + interval '1 minute'",
    ],
    ids=["waits for its next try", "just due", "done", "being sent"],
)
def test_deliveries_on_their_way_are_fine(client: TestClient, database_url: str, change: str) -> None:
    execute(database_url, *A_BATCH_DUE_FOR_TEN_MINUTES, f"UPDATE push_delivery_batches {change}")

    assert client.get("/health/").json()["status"] == "ok"


PAUSED = """INSERT INTO push_service_states (tenant_id, endpoint_host, vapid_key_id, paused_until, strikes)
    SELECT tenant_id, endpoint_host, vapid_key_id, now() + {until}, 1 FROM push_delivery_batches"""
ANOTHER_HELD = """INSERT INTO push_delivery_batches (id, tenant_id, notification_id, planned_at, endpoint_host,
    vapid_key_id, size, state, not_before, lease_token, leased_until)
    SELECT gen_random_uuid(), tenant_id, notification_id, planned_at, endpoint_host, vapid_key_id, size, 'leased',
    not_before, gen_random_uuid(), now() + {until} FROM push_delivery_batches"""


@pytest.mark.parametrize("why", [PAUSED, ANOTHER_HELD], ids=["its push service is paused", "workers run"])
def test_deliveries_that_wait_for_another_reason_are_fine_until_it_is_over(
    client: TestClient, database_url: str, why: str
) -> None:
    client.get("/vapid/public-key")
    execute(database_url, *A_BATCH_DUE_FOR_TEN_MINUTES, why.format(until="interval '1 minute'"))
    meanwhile = client.get("/health/").json()["status"]

    execute(
        database_url,
        "UPDATE push_service_states SET paused_until = now() - interval '10 minutes'",
        "UPDATE push_delivery_batches SET leased_until = now() - interval '10 minutes' WHERE state = 'leased'",
    )

    until(lambda: client.get("/health/").json()["status"] == "degraded", "it is noticed again")
    assert meanwhile == "ok"


A_BATCH_DUE_FOR_TEN_MINUTES = (
    f"""INSERT INTO push_notifications
        (id, tenant_id, title, body, type, actions, is_broadcast, ttl_seconds, urgency, state, accepted_at)
        SELECT gen_random_uuid(), '{DEFAULT_TENANT_ID}', 't', 'b', 'x', '[]', true, 60, 'low', 'sending', now()""",
    f"""INSERT INTO push_delivery_batches
        (id, tenant_id, notification_id, planned_at, endpoint_host, vapid_key_id, size, state, not_before)
        SELECT gen_random_uuid(), '{DEFAULT_TENANT_ID}', n.id, now(), 'fcm.googleapis.com', k.id, 1, 'ready',
        now() - interval '10 minutes' FROM push_notifications AS n, push_vapid_keys AS k""",
)
