"""The push service that the browser tests stand on, with a plain WebSocket client in Firefox's place."""

import base64
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from websockets import Subprotocol
from websockets.sync.client import ClientConnection, connect

from tests.support.autopush import AutopushServer

SENDER_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())


def public_key(key: ec.EllipticCurvePrivateKey) -> str:
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return base64.urlsafe_b64encode(point).decode("ascii")  # padded, as Firefox sends it


def authorization(audience: str, *, key: ec.EllipticCurvePrivateKey = SENDER_KEY, **claims: Any) -> str:
    claims = {"aud": audience, "exp": int(time.time()) + 3600, "sub": "mailto:test@example.org"} | claims
    return f"vapid t={jwt.encode(claims, key, 'ES256')}, k={public_key(key).rstrip('=')}"


@pytest.fixture
def push_service() -> Iterator[AutopushServer]:
    with AutopushServer() as server:
        yield server


@pytest.fixture
def browser(push_service: AutopushServer) -> Iterator[ClientConnection]:
    with open_socket(push_service) as connection:
        ask(connection, messageType="hello", use_webpush=True)
        yield connection


def open_socket(push_service: AutopushServer) -> ClientConnection:
    return connect(push_service.url, subprotocols=[Subprotocol("push-notification")], proxy=None)


def ask(browser: ClientConnection, **frame: Any) -> dict[str, Any]:
    browser.send(json.dumps(frame))
    answer: dict[str, Any] = json.loads(browser.recv(timeout=60))
    return answer


def register(browser: ClientConnection, channel_id: str | None = None) -> dict[str, Any]:
    return ask(
        browser, messageType="register", channelID=channel_id or str(uuid.uuid4()), key=public_key(SENDER_KEY)
    )


def post(
    push_service: AutopushServer, endpoint: str, body: bytes = b"sealed", **changed: str | None
) -> httpx.Response:
    """Post what would be accepted, but for the headers changed; None leaves one out."""
    headers = {
        "Authorization": authorization(push_service.origin),
        "TTL": "60",
        "Content-Encoding": "aes128gcm",
    } | changed
    sent = {name: value for name, value in headers.items() if value is not None}
    return httpx.post(endpoint, content=body, headers=sent, trust_env=False)


def test_a_post_reaches_the_browser_as_it_is(push_service: AutopushServer, browser: ClientConnection) -> None:
    registered = register(browser)

    answer = post(push_service, registered["pushEndpoint"], b"\x00\xfesealed")

    notification = json.loads(browser.recv(timeout=60))
    assert answer.status_code == 201
    assert answer.headers["location"].endswith(notification["version"])
    assert notification["channelID"] == registered["channelID"]
    assert notification["headers"] == {"encoding": "aes128gcm"}
    assert base64.urlsafe_b64decode(notification["data"] + "===") == b"\x00\xfesealed"


def test_registering_a_channel_twice_answers_the_same(browser: ClientConnection) -> None:
    first = register(browser)

    second = register(browser, first["channelID"])

    assert second == first


def test_what_was_not_acknowledged_comes_again_after_a_reconnect(
    push_service: AutopushServer, browser: ClientConnection
) -> None:
    registered = register(browser)
    post(push_service, registered["pushEndpoint"])
    notification = json.loads(browser.recv(timeout=60))
    browser.close()

    with open_socket(push_service) as again:
        hello = ask(again, messageType="hello", use_webpush=True, uaid=registered["uaid"])
        repeated = json.loads(again.recv(timeout=60))
        update = {"channelID": registered["channelID"], "version": repeated["version"], "code": 100}
        again.send(json.dumps({"messageType": "ack", "updates": [update]}))
        push_service.wait_for_ack(repeated["version"])

    assert hello["uaid"] == registered["uaid"]
    assert repeated == notification
    assert push_service.journal.unacked == {}


@pytest.mark.parametrize(
    ("headers", "body", "status", "errno"),
    [
        ({"Authorization": None}, b"sealed", 401, 109),
        ({"Authorization": "vapid t=a.b.c, k=AAAA"}, b"sealed", 401, 109),
        ({"TTL": None}, b"sealed", 400, 111),
        ({"TTL": "soon"}, b"sealed", 400, 112),
        ({"Topic": "x" * 33}, b"sealed", 400, 113),
        ({"Topic": "not/base64url"}, b"sealed", 400, 113),
        ({"Content-Encoding": "aesgcm"}, b"sealed", 400, 110),
        ({}, b"x" * 4097, 413, 104),
    ],
)
def test_a_bad_post_is_refused_as_autopush_refuses_it(
    push_service: AutopushServer,
    browser: ClientConnection,
    headers: dict[str, str | None],
    body: bytes,
    status: int,
    errno: int,
) -> None:
    endpoint = register(browser)["pushEndpoint"]

    answer = post(push_service, endpoint, body, **headers)

    assert (answer.status_code, answer.json()["errno"]) == (status, errno)
    assert push_service.journal.unacked == {}


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://elsewhere.example"},
        {"exp": 1_000_000_000},
        {"exp": int(time.time()) + 25 * 3600},
        {"sub": None},
    ],
    ids=["for another service", "expired", "for more than a day", "without a subject"],
)
def test_a_vapid_token_is_refused(
    push_service: AutopushServer, browser: ClientConnection, claims: dict[str, Any]
) -> None:
    endpoint = register(browser)["pushEndpoint"]

    answer = post(push_service, endpoint, Authorization=authorization(push_service.origin, **claims))

    assert (answer.status_code, answer.json()["errno"]) == (401, 109)


def test_another_key_than_the_subscriptions_is_refused(
    push_service: AutopushServer, browser: ClientConnection
) -> None:
    endpoint = register(browser)["pushEndpoint"]

    answer = post(push_service, endpoint, Authorization=authorization(push_service.origin, key=OTHER_KEY))

    assert (answer.status_code, answer.json()["message"]) == (401, "VAPID public key mismatch")


def test_a_subscription_that_ended_is_gone_and_an_unknown_one_not_found(
    push_service: AutopushServer, browser: ClientConnection
) -> None:
    registered = register(browser)
    ask(browser, messageType="unregister", channelID=registered["channelID"], code=200)

    gone = post(push_service, registered["pushEndpoint"])
    unknown = post(push_service, f"{push_service.origin}/wpush/v2/nobody")

    assert (gone.status_code, gone.json()["errno"]) == (410, 106)
    assert (unknown.status_code, unknown.json()["errno"]) == (404, 102)
