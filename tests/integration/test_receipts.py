"""A browser reports what became of its push messages: whoever has the token may, and nobody else."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response

from app.db.session import create_sessions
from app.delivery.token import ReceiptTokens
from app.keyring.service import Keyring
from app.main import create_app
from app.receipts.router import MAX_BODY_BYTES
from app.receipts.schemas import MAX_RECEIPTS
from app.receipts.service import Receipts
from app.simulator import Simulator
from tests.support.api import SECRET_KEY, SERVICE_HEADERS, bearer, build_settings, make_token
from tests.support.databases import dispose
from tests.support.ports import free_port

PATH = "/receipts/"
PAGE, ANOTHER_PAGE = "https://blog.example.com", "https://shop.example.com"
RETENTION_DAYS = 30
TOKENS = ReceiptTokens(Keyring(SECRET_KEY).receipt_key)


@pytest.fixture(scope="module")
def app(module_database_url: str, push_ca_file: Path, tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    settings = build_settings(
        database_url=module_database_url,
        data_dir=tmp_path_factory.mktemp("data"),
        push_ca_file=push_ca_file,
        log_retention_days=RETENTION_DAYS,
        cors_allowed_origins=[PAGE],
    )
    return create_app(settings)


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@dataclass(frozen=True)
class Message:
    """A push message that a browser got, and the notification that it was of."""

    notification_id: str
    token: str


@pytest.fixture
def receive(client: TestClient, push_service: Simulator) -> Callable[..., list[Message]]:
    """`receive(2)`: two browsers subscribe and get a notification; what they got."""

    def receive(count: int = 1, *, service: str = "fcm", **fields: Any) -> list[Message]:
        key = client.get("/vapid/public-key").json()["public_key"]
        browsers = [push_service.subscribe(service, application_server_key=key) for _ in range(count)]
        user_id = str(uuid4())
        for browser in browsers:
            headers = bearer(make_token(user_id=user_id))
            client.post("/subscriptions/", json=browser.subscription, headers=headers).raise_for_status()
        content = {"title": "Hello", "body": "World", "user_ids": [user_id], **fields}
        sent = client.post("/notifications/send/", json=content, headers=SERVICE_HEADERS)
        received = [message.json() for browser in browsers for message in browser.received]
        tokens = [each.get("receipt") or each["notification"]["data"]["receipt"] for each in received]
        return [Message(sent.json()["notification_id"], token) for token in tokens]

    return receive


def report(client: TestClient, *receipts: dict[str, Any], **headers: str) -> Response:
    """Send receipts as a service worker does."""
    answer: Response = client.post(
        PATH, json={"receipts": receipts}, headers={"Content-Type": "text/plain;charset=UTF-8", **headers}
    )
    return answer


def a_token(*, planned_at: datetime, ttl_seconds: int = 3600) -> str:
    [token] = TOKENS.make(uuid4(), planned_at, ttl_seconds, [str(uuid4())])
    return token.decode("ascii")


@pytest.mark.parametrize("service", ["fcm", "apple"])
def test_what_a_browser_displayed_is_delivered_wherever_one_looks(
    client: TestClient, receive: Callable[..., list[Message]], service: str
) -> None:
    shown, other = receive(2, service=service, type=f"shown-{service}")

    answer = report(client, {"token": shown.token, "event": "displayed", "seconds_ago": 0.5})

    assert (answer.status_code, answer.json()) == (200, {"accepted": 1, "repeated": 0, "refused": []})
    path = f"/notifications/{shown.notification_id}/"
    counts = client.get(path, headers=SERVICE_HEADERS).json()
    assert (counts["sent"], counts["delivered"], counts["pending"]) == (1, 1, 0)
    listed = client.get(f"{path}deliveries/", headers=SERVICE_HEADERS).json()["items"]
    assert sorted(each["status"] for each in listed) == ["delivered", "sent"]
    assert all((each["delivered_at"] is not None) == (each["status"] == "delivered") for each in listed)
    figures = client.get(f"/analytics/deliveries/?type=shown-{service}", headers=SERVICE_HEADERS).json()
    assert (figures["delivered"], figures["delivery_rate"], figures["acceptance_rate"]) == (1, 0.5, 1.0)
    assert other.token != shown.token


def test_each_receipt_is_judged_by_itself(client: TestClient, receive: Callable[..., list[Message]]) -> None:
    [message] = receive()
    displayed = {"token": message.token, "event": "displayed"}
    refused = {
        "invalid": "x" * 80,
        "expired": a_token(planned_at=datetime.now(UTC) - timedelta(days=20)),
        "unknown": a_token(planned_at=datetime.now(UTC)),
    }

    answer = report(
        client,
        *({"token": token, "event": "closed"} for token in refused.values()),
        displayed,
        displayed,
        {"token": message.token, "event": "clicked", "action": "read"},
    )

    assert answer.status_code == 200
    assert answer.json() == {
        "accepted": 2,
        "repeated": 1,
        "refused": [{"index": index, "reason": reason} for index, reason in enumerate(refused)],
    }
    assert report(client, displayed).json()["repeated"] == 1


def test_when_none_counts_the_sender_is_told_to_drop_them(client: TestClient) -> None:
    forged = a_token(planned_at=datetime.now(UTC))[:-1] + "!"

    answer = report(client, {"token": forged, "event": "displayed"})

    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/no-valid-receipt")
    assert answer.json()["refused"] == [{"index": 0, "reason": "invalid"}]
    assert forged not in answer.text


def test_what_retention_is_about_to_freeze_takes_no_receipt_any_more(client: TestClient) -> None:
    planned_at = datetime.now(UTC) - timedelta(days=RETENTION_DAYS) + timedelta(minutes=59)

    answer = report(client, {"token": a_token(planned_at=planned_at, ttl_seconds=28 * 86_400), "event": "closed"})

    assert answer.json()["refused"] == [{"index": 0, "reason": "expired"}]


@pytest.mark.parametrize(
    "receipt",
    [
        {"event": "displayed"},
        {"token": "x"},
        {"token": 1, "event": "displayed"},
        {"token": "x", "event": "seen"},
        {"token": "x", "event": "displayed", "action": "read"},
        {"token": "x", "event": "clicked", "action": "x" * 101},
        {"token": "x", "event": "clicked", "action": "\0"},
        {"token": "x", "event": "closed", "seconds_ago": -1},
        {"token": "x", "event": "closed", "seconds_ago": "5"},
        {"token": "x", "event": "closed", "seconds_ago": True},
        {"token": "x", "event": "closed", "when": "now"},
        "receipt",
        None,
    ],
)
def test_a_malformed_receipt_is_a_clear_problem(client: TestClient, receipt: Any) -> None:
    answer = report(client, receipt)

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid")
    assert answer.json()["errors"][0]["pointer"].startswith("/receipts/0")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("[]", 422),
        ("{}", 422),
        ('{"receipts": []}', 422),
        ('{"receipts": [' + ",".join(['{"token": "x", "event": "closed"}'] * (MAX_RECEIPTS + 1)) + "]}", 422),
        ("", 400),
        ('{"receipts": [{"token": "x", "event": "closed", "seconds_ago": NaN}]}', 422),
        ("receipts=[]", 400),
        (" " * (MAX_BODY_BYTES + 1), 413),
    ],
)
@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_the_body_is_json_whatever_its_type_says(
    client: TestClient, body: str, content_type: str, status: int
) -> None:
    answer = client.post(PATH, content=body, headers={"Content-Type": content_type})

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


@pytest.mark.parametrize("origin", [PAGE, ANOTHER_PAGE, "null"])
@pytest.mark.parametrize("path", [PATH, PATH.rstrip("/")])
def test_a_page_of_any_origin_may_report_and_read_the_answer(client: TestClient, path: str, origin: str) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}

    preflight = client.options(path, headers={"Origin": origin, **asked})
    refusal = client.post(path, content=b"{", headers={"Origin": origin})

    assert (preflight.status_code, preflight.headers["access-control-allow-methods"]) == (204, "POST")
    assert "Content-Type" in preflight.headers["access-control-allow-headers"]
    for answer in (preflight, refusal):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert "access-control-allow-credentials" not in answer.headers


def test_while_the_database_is_away_a_browser_keeps_its_receipts_and_forged_ones_do_not_ask_it(
    app: FastAPI, client: TestClient, receive: Callable[..., list[Message]]
) -> None:
    [message] = receive()
    away = create_sessions(f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    served, app.state.receipts = app.state.receipts, Receipts(away, TOKENS, kept_days=RETENTION_DAYS)
    displayed = {"token": message.token, "event": "displayed"}

    meanwhile = report(client, displayed)
    forged = report(client, {"token": "x" * 80, "event": "displayed"})
    app.state.receipts.close()
    app.state.receipts = served
    dispose(away)

    assert (meanwhile.status_code, meanwhile.headers["retry-after"]) == (503, "5")
    assert forged.status_code == 403
    assert report(client, displayed).json()["accepted"] == 1


def test_what_came_is_counted(client: TestClient, receive: Callable[..., list[Message]]) -> None:
    [message] = receive()
    report(client, {"token": message.token, "event": "closed"}, {"token": "x" * 80, "event": "closed"})

    shown = client.get("/metrics/").text

    assert 'push_receipts_total{event="closed",result="accepted"}' in shown
    assert 'push_receipts_refused_total{reason="invalid"}' in shown
    assert "push_receipt_delay_seconds_bucket" in shown
