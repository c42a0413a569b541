"""Sentry's client for real, with a transport that keeps instead of sending."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sentry_sdk
import structlog
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport
from sqlalchemy import create_engine, text

from app import __version__
from app.errors import NotFound
from app.main import create_app
from app.observability import sentry
from app.observability.redaction import MASK
from app.observability.sentry_requests import request_integrations
from tests.support.api import SettingsFactory

DSN = "https://public@sentry.example.com/1"
SECRET = "hush" * 3  # so that the lines of this file, which are reported, do not hold it
ENDPOINT = f"https://fcm.googleapis.com/fcm/send/dGVzdA:{SECRET}"
SECRET_HEADERS = {
    "Authorization": f"Bearer Header{SECRET}",
    "X-API-Key": f"Header{SECRET}",
    "X-Subscription-Auth": f"Header{SECRET}",
    "Cookie": f"session=Header{SECRET}",
    "User-Agent": "tests",
}

log = structlog.stdlib.get_logger("app.somewhere")


class Kept(Transport):
    """A transport that keeps what would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.items += [item.payload.json for item in envelope.items if item.payload.json is not None]

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [item for item in self.items if item.get("type") != "transaction"]

    @property
    def transactions(self) -> list[dict[str, Any]]:
        return [item for item in self.items if item.get("type") == "transaction"]


@pytest.fixture
def sent(make_settings: SettingsFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    """Reports every request and error to a transport of ours; off again after the test."""
    monkeypatch.setattr(sentry, "TRACES_SAMPLE_RATE", 1.0)
    transport = Kept()
    integrations = request_integrations()
    assert sentry.configure_sentry(make_settings(sentry_dsn=DSN), integrations=integrations, transport=transport)
    yield transport
    sentry_sdk.get_global_scope().set_client(None)
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def client(make_settings: SettingsFactory, sent: Kept) -> TestClient:
    app = create_app(make_settings())
    add_routes(app)
    return TestClient(app)


def add_routes(app: FastAPI) -> None:
    @app.post("/broken/{thing_id}/")
    async def broken(thing_id: str, request: Request) -> None:
        p256dh = f"Local{SECRET}"
        body = await request.json()
        raise RuntimeError(f"cannot post {len(p256dh) + len(body)} bytes to {ENDPOINT}")

    @app.post("/refused/")
    def refused() -> None:
        raise NotFound("There is no such thing.")

    @app.post("/fine/{thing_id}/")
    def fine(thing_id: str) -> str:
        with create_engine("sqlite://").connect() as connection:
            connection.execute(text("SELECT :secret"), {"secret": f"Statement{SECRET}"})
        return "ok"


def post(client: TestClient, path: str) -> int:
    answer = client.post(
        f"{path}?token={SECRET}", json={"endpoint": ENDPOINT, "auth": f"Body{SECRET}"}, headers=SECRET_HEADERS
    )
    return int(answer.status_code)


def test_nothing_is_reported_without_a_dsn(make_settings: SettingsFactory) -> None:
    assert not sentry.configure_sentry(make_settings())
    assert not sentry_sdk.get_client().is_active()


def test_an_unexpected_error_is_reported_once_with_its_release(client: TestClient, sent: Kept) -> None:
    assert post(client, "/broken/1/") == 500

    (event,) = sent.errors
    assert event["release"] == f"push-notification-service@{__version__}"
    assert event["environment"] == "development"
    assert event["exception"]["values"][-1]["type"] == "RuntimeError"
    assert event["tags"]["request_id"]
    assert event["request"]["headers"]["user-agent"] == "tests"


@pytest.mark.parametrize(
    "path", ["/broken/1/", "/fine/1/", f"/broken/{SECRET}/", f"/fine/{SECRET}/", f"/nowhere/{SECRET}"]
)
def test_no_secret_leaves(client: TestClient, sent: Kept, path: str) -> None:
    post(client, path)

    everything = json.dumps(sent.items)
    assert sent.items
    assert SECRET not in everything
    if path.startswith("/broken/"):
        assert f"https://fcm.googleapis.com/{MASK}" in everything


@pytest.mark.parametrize("path", ["/refused/", "/nowhere/"])
def test_what_is_refused_on_purpose_is_no_error(client: TestClient, sent: Kept, path: str) -> None:
    assert post(client, path) == 404

    assert sent.errors == []


def test_a_domain_error_that_was_logged_is_no_error_either(sent: Kept) -> None:
    try:
        raise NotFound("There is no such thing.")
    except NotFound:
        log.exception("refused")

    assert sent.items == []


def test_a_transaction_is_named_by_its_route(client: TestClient, sent: Kept) -> None:
    post(client, "/fine/1/")

    (transaction,) = sent.transactions
    assert transaction["transaction"] == "/fine/{thing_id}/"


@pytest.mark.parametrize("path", ["/health/live", "/metrics/"])
def test_what_machines_ask_all_the_time_is_not_traced(client: TestClient, sent: Kept, path: str) -> None:
    client.get(path)

    assert sent.items == []


def test_a_logged_error_keeps_its_words_and_facts(sent: Kept) -> None:
    structlog.contextvars.bind_contextvars(request_id="r-1")

    log.error("batch given up", host="fcm.googleapis.com", endpoint=ENDPOINT)

    (event,) = sent.errors
    assert event["logentry"]["message"] == "batch given up"
    assert event["extra"]["host"] == "fcm.googleapis.com"
    assert event["extra"]["endpoint"] == MASK
    assert event["tags"]["request_id"] == "r-1"


def test_a_logged_exception_comes_with_its_traceback_and_without_locals(sent: Kept) -> None:
    def post_it() -> None:
        p256dh = f"Local{SECRET}"
        raise ValueError(f"cannot post {len(p256dh)} bytes")

    try:
        post_it()
    except ValueError:
        log.exception("failed")

    (event,) = sent.errors
    (value,) = event["exception"]["values"]
    assert value["type"] == "ValueError"
    assert [frame["function"] for frame in value["stacktrace"]["frames"]][-1] == "post_it"
    assert all("vars" not in frame for frame in value["stacktrace"]["frames"])


def test_other_libraries_errors_are_reported_too(sent: Kept) -> None:
    logging.getLogger("alembic").error("cannot reach %s", ENDPOINT)

    (event,) = sent.errors
    assert MASK in json.dumps(event["logentry"])
    assert SECRET not in json.dumps(event)


@pytest.mark.parametrize("write", [log.warning, log.info])
def test_warnings_are_not_errors(sent: Kept, write: Callable[..., Any]) -> None:
    write("a push service is slow")

    assert sent.items == []
