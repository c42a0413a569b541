"""The edge around the real routes: every path, its doors, and what happens when things are down."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest
from alembic import command
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from app.web.middleware import MAX_BODY_BYTES
from app.web.routing import SlashAgnosticRoute
from tests.support.api import (
    OVERRIDES,
    SERVICE_HEADERS,
    LiveServer,
    SettingsFactory,
    bearer,
    build_settings,
    launch,
    make_token,
    wait_until_it_answers,
)
from tests.support.databases import StoppablePostgres, alembic_config, create_database, temporary_database
from tests.support.document import operations
from tests.support.waiting import until

PROJECT_ROOT = Path(__file__).parents[2]
SOME_ID = "0199a000-0000-7000-8000-000000000000"
OPEN_PATHS = {"/health/", "/health/live", "/health/ready", "/metrics/", "/vapid/public-key"}
OPEN_TO_WHO_HAS_THE_SECRET = {f"/subscriptions/{SOME_ID}/replace", "/receipts/"}
OPEN_TO_EVERY_PAGE = {"/receipts/"}  # they read JSON whatever the Content-Type says
DEADLINE_SECONDS = 90.0
PAGE = "https://blog.example.com"


def _body_of(operation: dict[str, Any]) -> dict[str, Any]:
    return {"json": {}} if operation.get("requestBody") else {}


OPERATIONS = [(method, re.sub(r"\{[^}]+\}", SOME_ID, path), operation) for method, path, operation in operations()]
EACH_OPERATION = pytest.mark.parametrize(
    ("method", "path", "operation"), OPERATIONS, ids=[f"{method} {path}" for method, path, _ in OPERATIONS]
)


WITH_BODY = pytest.mark.parametrize(
    ("method", "path"), [(method, path) for method, path, operation in OPERATIONS if operation.get("requestBody")]
)


@pytest.fixture(scope="module")
def shared_client(
    postgres_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    """One client for the sweeps, which store nothing that another one would notice."""
    with temporary_database(postgres_url, template=template_database) as url:
        settings = build_settings(
            database_url=url, data_dir=tmp_path_factory.mktemp("data"), cors_allowed_origins=[PAGE]
        )
        with TestClient(create_app(settings)) as client:
            yield client


def test_the_document_lists_every_route_of_the_specification() -> None:
    listed = {(method, path) for method, path, _ in OPERATIONS}

    assert listed >= {
        ("POST", "/subscriptions/"),
        ("GET", f"/subscriptions/{SOME_ID}/"),
        ("PUT", f"/subscriptions/{SOME_ID}/"),
        ("DELETE", f"/subscriptions/{SOME_ID}/"),
        ("POST", "/notifications/send/"),
        ("POST", "/notifications/broadcast/"),
        ("GET", "/notifications/history/"),
        ("GET", "/analytics/subscriptions/"),
        ("GET", "/analytics/deliveries/"),
        ("GET", "/health/"),
        ("GET", "/metrics/"),
    }


def test_every_route_of_the_app_takes_either_form_of_its_path(app: FastAPI) -> None:
    for context in iter_route_contexts(app.routes):
        if context.path and context.path.startswith(("/docs", "/openapi")):
            continue
        assert isinstance(context.original_route, SlashAgnosticRoute), context.path


@EACH_OPERATION
def test_both_forms_of_a_path_answer_alike(
    shared_client: TestClient, method: str, path: str, operation: dict[str, Any]
) -> None:
    other = path[:-1] if path.endswith("/") else f"{path}/"

    answers = [
        shared_client.request(method, form, headers=SERVICE_HEADERS, follow_redirects=False, **_body_of(operation))
        for form in (path, other)
    ]

    assert answers[0].status_code == answers[1].status_code
    assert answers[0].status_code not in {301, 302, 307, 308, 405}


@EACH_OPERATION
def test_what_is_not_open_asks_who_is_there(
    shared_client: TestClient, method: str, path: str, operation: dict[str, Any]
) -> None:
    response = shared_client.request(method, path, **_body_of(operation))

    if path in OPEN_PATHS:
        assert response.status_code == 200
    elif path in OPEN_TO_WHO_HAS_THE_SECRET:
        assert response.status_code == 422  # the secret is missing, among others
    else:
        assert (response.status_code, response.headers["content-type"]) == (401, "application/problem+json")
        assert operation["security"]


@EACH_OPERATION
def test_a_users_token_opens_only_subscriptions(
    shared_client: TestClient, method: str, path: str, operation: dict[str, Any]
) -> None:
    response = shared_client.request(method, path, headers=bearer(make_token(user_id="42")), **_body_of(operation))

    if path not in OPEN_PATHS | OPEN_TO_EVERY_PAGE and not path.startswith("/subscriptions/"):
        assert (response.status_code, response.json()["type"]) == (403, "/problems/api-key-needed")
    else:
        assert response.status_code in {200, 404, 422}


@WITH_BODY
@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 50_000, "application/json", 400),
        (b"[]", "application/json", 422),
        (b'"text"', "application/json", 422),
        (b"null", "application/json", 422),
        (b"title=a", "application/x-www-form-urlencoded", 415),
        (b"x" * (1024 * 1024 + 1), "application/json", 413),
    ],
    ids=["broken", "not UTF-8", "deep", "list", "text", "null", "form", "large"],
)
def test_a_body_that_cannot_be_one_is_a_clear_problem(
    shared_client: TestClient, method: str, path: str, body: bytes, content_type: str, status: int
) -> None:
    headers = {**SERVICE_HEADERS, "Content-Type": content_type}

    response = shared_client.request(method, path, content=body, headers=headers)

    expected = 400 if path in OPEN_TO_EVERY_PAGE and status == 415 else status
    assert (response.status_code, response.headers["content-type"]) == (expected, "application/problem+json")
    assert response.json()["detail"]


@WITH_BODY
def test_a_page_that_may_call_us_can_read_every_refusal(shared_client: TestClient, method: str, path: str) -> None:
    response = shared_client.request(method, path, content=b"{", headers={**SERVICE_HEADERS, "Origin": PAGE})

    assert response.status_code >= 400
    assert response.headers["access-control-allow-origin"] == ("*" if path in OPEN_TO_EVERY_PAGE else PAGE)


def test_a_head_of_the_health_is_its_get_without_a_body(shared_client: TestClient) -> None:
    response = shared_client.head("/health")

    assert (response.status_code, response.content) == (200, b"")


def _migrated_database(server: StoppablePostgres) -> str:
    url = create_database(server.url, "push")
    command.upgrade(alembic_config(url), "head")
    with closing(psycopg2.connect(server.url)) as connection:
        connection.autocommit = True
        connection.cursor().execute("CHECKPOINT")  # the server may lose what it did last, for speed
    return url


def test_requests_are_503_while_the_database_is_away_and_served_again_after(
    make_settings: SettingsFactory, stoppable_postgres: StoppablePostgres
) -> None:
    url = _migrated_database(stoppable_postgres)
    path = "/notifications/history/"
    with TestClient(create_app(make_settings(database_url=url))) as client:
        assert client.get(path, headers=SERVICE_HEADERS).status_code == 200

        stoppable_postgres.stop()
        away = client.get(path, headers=SERVICE_HEADERS)
        stoppable_postgres.start()

        assert (away.status_code, away.json()["type"]) == (503, "/problems/unavailable")
        assert away.headers["retry-after"] == "5"
        until(lambda: client.get(path, headers=SERVICE_HEADERS).status_code == 200)


def test_the_app_starts_while_the_database_is_away(
    make_settings: SettingsFactory, stoppable_postgres: StoppablePostgres
) -> None:
    url = _migrated_database(stoppable_postgres)
    stoppable_postgres.stop()
    with TestClient(create_app(make_settings(database_url=url))) as client:
        assert client.get("/health/live").status_code == 200
        assert client.get("/notifications/history/", headers=SERVICE_HEADERS).status_code == 503

        stoppable_postgres.start()

        until(lambda: client.get("/notifications/history/", headers=SERVICE_HEADERS).status_code == 200)


def test_a_database_without_tables_is_a_503_too(make_settings: SettingsFactory, empty_database_url: str) -> None:
    with TestClient(create_app(make_settings(database_url=empty_database_url))) as client:
        response = client.get("/notifications/history/", headers=SERVICE_HEADERS)

    assert (response.status_code, response.json()["type"]) == (503, "/problems/unavailable")


@pytest.fixture(scope="module")
def running_server(
    postgres_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    """One uvicorn for the tests that leave it as it is."""
    with temporary_database(postgres_url, template=template_database) as url:
        server = launch(None, {"DATABASE_URL": url}, tmp_path_factory.mktemp("server"))
        try:
            wait_until_it_answers(server)
            yield server
        finally:
            server.stop()


def _connect(server: LiveServer) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=DEADLINE_SECONDS)


def test_a_body_announced_as_huge_is_refused_and_the_connection_closed(running_server: LiveServer) -> None:
    head = (
        "POST /notifications/send/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"X-API-Key: {SERVICE_HEADERS['X-API-Key']}\r\nContent-Length: 10000000000\r\n\r\n{{"
    )
    with closing(_connect(running_server)) as connection:
        connection.sendall(head.encode())

        answer = b"".join(iter(lambda: connection.recv(65536), b""))  # ends because the server closes

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"/problems/too-large" in answer


def test_a_chunked_body_is_refused_once_it_is_too_large(running_server: LiveServer) -> None:
    address = urlsplit(running_server.url)
    with closing(HTTPConnection(address.hostname or "", address.port, timeout=DEADLINE_SECONDS)) as connection:
        connection.putrequest("POST", "/notifications/send/")
        for name, value in {**SERVICE_HEADERS, "Transfer-Encoding": "chunked"}.items():
            connection.putheader(name, value)
        connection.endheaders()
        for _ in range(MAX_BODY_BYTES // 65536):
            connection.send(b"10000\r\n" + b" " * 65536 + b"\r\n")
        connection.send(b"1\r\n \r\n")  # and nothing after it, for then the server closes the connection

        response = connection.getresponse()

        assert (response.status, json.loads(response.read())["type"]) == (413, "/problems/too-large")


def test_a_running_server_answers_head_options_and_slashless_paths(running_server: LiveServer) -> None:
    address = urlsplit(running_server.url)
    with closing(HTTPConnection(address.hostname or "", address.port, timeout=DEADLINE_SECONDS)) as connection:
        answers = []
        for method, path in (("HEAD", "/health/live/"), ("OPTIONS", "/subscriptions"), ("GET", "/health")):
            connection.request(method, path)
            response = connection.getresponse()
            answers.append((response.status, bool(response.read())))

    assert answers == [(200, False), (204, False), (200, True)]


def test_the_server_stops_when_asked(live_server: LiveServer) -> None:
    assert live_server.stop() in {0, -signal.SIGTERM}  # uvicorn ends by the signal it was sent
    assert "Traceback" not in live_server.output()


def _start_that_fails(directory: Path, **variables: str) -> tuple[int, str]:
    environment = {
        **os.environ,
        **OVERRIDES,
        "DATA_DIR": str(directory),
        "PYTHONPATH": str(PROJECT_ROOT),
        **variables,
    }
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
    finished = subprocess.run(
        [sys.executable, "-m", "uvicorn", "app.main:app", "--port", "0"],
        env=environment,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return finished.returncode, finished.stdout + finished.stderr


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"ENVIRONMENT": "production"}, "DATABASE_URL"),
        ({"JWT_ALGORITHMS": "RS256"}, "JWT_PUBLIC_KEY"),  # found by the app, not by the settings
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_clear_message(
    tmp_path: Path, variables: dict[str, str], named: str
) -> None:
    code, output = _start_that_fails(tmp_path, **variables)

    assert code != 0
    assert named in output
    assert "Traceback" not in output


def test_a_trusted_proxy_tells_clients_apart(settings: Settings, make_settings: SettingsFactory) -> None:
    own = make_settings(
        database_url=settings.database_url, rate_limit_subscription="1/hour", trusted_proxies=["127.0.0.1"]
    )
    anonymous = bearer(make_token(push_anonymous=True))
    with TestClient(create_app(own), client=("127.0.0.1", 50000)) as client:
        statuses = [
            client.get(f"/subscriptions/{SOME_ID}/", headers={**anonymous, "X-Forwarded-For": address}).status_code
            for address in ("203.0.113.1", "203.0.113.1", "203.0.113.2")
        ]

    assert statuses == [404, 429, 404]
