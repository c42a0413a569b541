import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import APIRouter, Request
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, StreamingResponse
from starlette.types import Message

from app.settings import SettingsError
from app.web.middleware import MAX_BODY_BYTES, PlainStartupFailure
from app.web.routing import api_router
from tests.unit.web.conftest import EdgeFactory

PAGE = "https://blog.example.com"


def _things() -> APIRouter:
    router = api_router(prefix="/things")

    @router.post("/")
    def post_thing(thing: dict[str, str]) -> int:
        return sum(len(value) for value in thing.values())

    @router.post("/unread/")
    def ignore() -> str:
        return "done"

    @router.get("/broken/")
    def fail() -> None:
        raise RuntimeError("broken")

    @router.get("/half/")
    def half() -> StreamingResponse:
        def parts() -> Iterator[bytes]:
            yield b"half"
            raise RuntimeError("broken")

        return StreamingResponse(parts())

    @router.get("/own-headers/")
    def own() -> HTMLResponse:
        return HTMLResponse("", headers={"Cache-Control": "max-age=60", "Content-Security-Policy": "default-src *"})

    @router.get("/address/")
    def address(request: Request) -> str:
        return request.client.host if request.client else ""

    return router


@pytest.fixture
def client(edge: EdgeFactory) -> TestClient:
    return edge(_things())


def _json_of(size: int) -> bytes:
    head, tail = b'{"a": "', b'"}'
    return head + b"x" * (size - len(head) - len(tail)) + tail


@pytest.mark.parametrize("path", ["/things/", "/things/unread/", "/nowhere/"])
def test_a_body_announced_too_large_is_refused_before_it_is_read(client: TestClient, path: str) -> None:
    body = _json_of(MAX_BODY_BYTES + 1)

    response = client.post(path, content=body, headers={"Content-Type": "application/json"})

    assert response.status_code == 413
    assert response.json()["type"] == "/problems/too-large"
    assert response.headers["connection"] == "close"


def test_a_chunked_body_is_refused_as_soon_as_it_is_too_large(client: TestClient) -> None:
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(64):
            sent += 1
            yield b"[" * (MAX_BODY_BYTES // 4)

    response = client.post("/things/", content=chunks(), headers={"Content-Type": "application/json"})

    assert response.status_code == 413
    assert response.json()["type"] == "/problems/too-large"


def test_a_body_of_just_the_limit_is_read(client: TestClient) -> None:
    response = client.post(
        "/things/", content=_json_of(MAX_BODY_BYTES), headers={"Content-Type": "application/json"}
    )

    assert response.status_code == 200


@pytest.mark.parametrize("body", [b"[" * 60_000, b"{},[]," * 20_000, b"0," * 60_000, b'{"a":' * 60_000])
def test_a_body_of_too_many_values_is_refused_before_it_is_parsed(client: TestClient, body: bytes) -> None:
    response = client.post("/things/", content=body, headers={"Content-Type": "application/json"})

    assert response.status_code == 413
    assert response.json()["detail"] == "The body has more than 50000 values."


def test_the_largest_send_has_few_enough_values(client: TestClient) -> None:
    ids = [str(uuid.uuid4()) for _ in range(10_000)]
    send = {"title": "Hi, all", "body": "a, b", "topics": ids[:100], "user_ids": ids, "subscription_ids": ids}

    response = client.post("/things/", json=send)

    assert response.status_code == 422, "read and parsed; it is no thing"


def test_an_answer_keeps_headers_of_its_own(client: TestClient) -> None:
    response = client.get("/things/own-headers/")

    assert response.headers["cache-control"] == "max-age=60"
    assert response.headers["content-security-policy"] == "default-src *"


@pytest.mark.parametrize("path", ["/things/unread/", "/nowhere/", "/things/broken/"])
def test_a_page_of_an_allowed_origin_can_read_answers_and_problems(edge: EdgeFactory, path: str) -> None:
    client = edge(_things(), cors_allowed_origins=[PAGE])

    response = client.get(path, headers={"Origin": PAGE})

    assert response.headers["access-control-allow-origin"] == PAGE
    assert "Retry-After" in response.headers["access-control-expose-headers"]
    assert "X-RateLimit-Remaining" in response.headers["access-control-expose-headers"]
    assert "Idempotency-Replayed" in response.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in response.headers


def test_a_body_too_large_can_be_read_by_the_page_that_sent_it(edge: EdgeFactory) -> None:
    client = edge(_things(), cors_allowed_origins=[PAGE])

    response = client.post("/things/", content=_json_of(MAX_BODY_BYTES + 1), headers={"Origin": PAGE})

    assert (response.status_code, response.headers["access-control-allow-origin"]) == (413, PAGE)


def test_a_preflight_allows_what_a_browser_sends_us(edge: EdgeFactory) -> None:
    client = edge(_things(), cors_allowed_origins=[PAGE])

    response = client.options(
        "/things/",
        headers={
            "Origin": PAGE,
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "authorization, content-type, x-subscription-auth",
        },
    )

    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == PAGE
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("origins", [[], [PAGE]])
def test_a_page_of_another_origin_is_not_allowed(edge: EdgeFactory, origins: list[str]) -> None:
    client = edge(_things(), cors_allowed_origins=origins)

    response = client.get("/things/unread/", headers={"Origin": "https://evil.example"})

    assert "access-control-allow-origin" not in response.headers


def test_a_browser_may_not_send_an_api_key(edge: EdgeFactory) -> None:
    client = edge(_things(), cors_allowed_origins=[PAGE])

    response = client.options(
        "/things/",
        headers={
            "Origin": PAGE,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-api-key",
        },
    )

    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["access-control-allow-origin"] == PAGE
    assert response.json()["type"] == "/problems/cors-refused"
    assert response.json()["detail"].startswith("Disallowed CORS headers.")


def test_an_answer_that_breaks_half_way_is_broken_off(client: TestClient) -> None:
    with pytest.raises(RuntimeError, match="broken"):
        client.get("/things/half/")


def _startup_message(error: Exception) -> str:
    """Return what the server is told when starting the app raises this error."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        raise error
        yield

    app = Starlette(lifespan=lifespan, middleware=[Middleware(PlainStartupFailure, expected=(SettingsError,))])
    messages: list[Any] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        messages.append(message)

    with pytest.raises(type(error)):
        asyncio.run(app({"type": "lifespan", "state": {}}, receive, send))
    return str(messages[0]["message"])


def test_an_expected_fault_at_the_start_is_told_in_words() -> None:
    assert _startup_message(SettingsError("Set DATABASE_URL.")) == "Set DATABASE_URL."


def test_an_unexpected_fault_at_the_start_keeps_its_traceback() -> None:
    assert "Traceback" in _startup_message(KeyError("oops"))
