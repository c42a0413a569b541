import json
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace

import anyio
import pytest
from fastapi import APIRouter, HTTPException
from fastapi.testclient import TestClient
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send
from structlog.contextvars import get_contextvars
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.errors import NotFound
from app.observability import metrics
from app.web import access_log
from app.web.access_log import AccessLogMiddleware
from app.web.routing import api_router
from tests.support.metric_samples import Samples
from tests.unit.web.conftest import EdgeFactory

DURATION = "push_http_request_duration_seconds_count"
REQUESTS = "push_http_requests_total"


def _parcels() -> APIRouter:
    inner = api_router(prefix="/{parcel_id}/labels")

    @inner.get("/{label_id}/")
    def get_label(parcel_id: str, label_id: str) -> str:
        return label_id

    router = api_router(prefix="/parcels")
    router.include_router(inner)

    @router.get("/{parcel_id}/")
    def get_parcel(parcel_id: str) -> str:
        if parcel_id == "missing":
            raise NotFound("There is no such parcel.")
        if parcel_id == "teapot":
            raise HTTPException(418)
        if parcel_id == "broken":
            raise RuntimeError("broken")
        return str(get_contextvars().get("request_id"))

    @router.get("/streamed/half/")
    def half() -> StreamingResponse:
        def parts() -> Iterator[bytes]:
            yield b"half"
            raise RuntimeError("broken")

        return StreamingResponse(parts())

    return router


def scraped() -> Samples:
    return Samples(metrics.render()[0].decode())


@pytest.fixture
def client(edge: EdgeFactory) -> TestClient:
    return edge(_parcels())


def request_line(logs: list[EventDict]) -> EventDict:
    (line,) = [line for line in logs if line["event"] == "request"]
    return line


def counted(client: TestClient, method: str, path: str, /, **labels: str) -> float:
    """Send a request, and return how many more requests with these labels there are."""
    before = scraped().value(REQUESTS, **labels) or 0
    with suppress(RuntimeError):  # the test client raises when the connection would break
        client.request(method, path)
    return (scraped().value(REQUESTS, **labels) or 0) - before


def test_a_request_without_an_id_gets_one(client: TestClient) -> None:
    answer = client.get("/parcels/1/")

    request_id = answer.headers["X-Request-ID"]
    assert len(request_id) == 32
    assert answer.json() == request_id, "the handler's log lines carry it, in its thread too"
    assert client.get("/parcels/1/").headers["X-Request-ID"] != request_id


def test_a_sane_id_is_kept(client: TestClient) -> None:
    answer = client.get("/parcels/1/", headers={"X-Request-ID": "nginx-7f.3:a_b"})

    assert answer.headers.get_list("X-Request-ID") == ["nginx-7f.3:a_b"]
    assert answer.json() == "nginx-7f.3:a_b"


@pytest.mark.parametrize(
    "request_id", ["", " ", "a b", "x" * 129, "<script>", "a\tb", "-leading", "\xe9", '{"a":1}', "a,b"]
)
def test_an_id_that_could_harm_a_log_is_replaced(client: TestClient, request_id: str) -> None:
    answer = client.get("/parcels/1/", headers={"X-Request-ID": request_id.encode("latin-1")})

    assert len(answer.headers["X-Request-ID"]) == 32


@pytest.mark.parametrize("path", ["/parcels/missing/", "/nowhere/", "/parcels/broken/"])
def test_answers_to_failures_have_the_id_too(client: TestClient, path: str) -> None:
    answer = client.get(path, headers={"X-Request-ID": "r-1"})

    assert answer.headers["X-Request-ID"] == "r-1"
    assert answer.json()["request_id"] == "r-1"


def test_one_line_a_request_names_the_route_and_never_the_path(client: TestClient) -> None:
    with capture_logs() as logs:
        client.get("/parcels/secret-id/?token=secret", headers={"X-API-Key": "secret"})

    line = request_line(logs)
    assert (line["method"], line["route"], line["status"]) == ("GET", "/parcels/{parcel_id}/", 200)
    assert (line["client"], line["log_level"]) == ("api-key", "info")
    assert line["duration_ms"] >= 0
    assert "secret" not in json.dumps(logs)


@pytest.mark.parametrize(
    ("headers", "kind"), [({}, "none"), ({"Authorization": "Bearer x"}, "jwt"), ({"X-API-Key": "x"}, "api-key")]
)
def test_the_line_says_how_the_client_showed_itself(client: TestClient, headers: dict[str, str], kind: str) -> None:
    with capture_logs() as logs:
        client.get("/parcels/1/", headers=headers)

    assert request_line(logs)["client"] == kind


@pytest.mark.parametrize("path", ["/health/live", "/metrics/"])
def test_what_machines_ask_all_the_time_is_logged_for_debugging_only(client: TestClient, path: str) -> None:
    with capture_logs() as logs:
        client.get(path)

    assert request_line(logs)["log_level"] == "debug"


@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("GET", "/parcels/1/", {"route": "/parcels/{parcel_id}/", "method": "GET", "status": "200"}),
        ("GET", "/parcels/1", {"route": "/parcels/{parcel_id}/", "method": "GET", "status": "200"}),
        ("HEAD", "/parcels/1", {"route": "/parcels/{parcel_id}/", "method": "HEAD", "status": "200"}),
        ("GET", "/parcels/1/labels/2/", {"route": "/parcels/{parcel_id}/labels/{label_id}/", "status": "200"}),
        ("GET", "/parcels/missing/", {"route": "/parcels/{parcel_id}/", "status": "404"}),
        ("GET", "/parcels/teapot/", {"route": "/parcels/{parcel_id}/", "status": "418"}),
        ("GET", "/parcels/broken/", {"route": "/parcels/{parcel_id}/", "status": "500"}),
        ("GET", "/parcels/streamed/half/", {"route": "/parcels/streamed/half/", "status": "200"}),
        ("DELETE", "/parcels/1/", {"route": "/parcels/{parcel_id}/", "method": "DELETE", "status": "405"}),
        ("GET", "/wp-login.php", {"route": "unmatched", "status": "404"}),
        ("BREW", "/parcels/1/", {"method": "OTHER"}),
    ],
)
def test_requests_are_counted_by_template(
    client: TestClient, method: str, path: str, labels: dict[str, str]
) -> None:
    assert counted(client, method, path, **labels) == 1


def test_times_are_measured_by_status_class(client: TestClient) -> None:
    labels = {"method": "GET", "route": "/parcels/{parcel_id}/", "status": "4xx"}
    before = scraped().value(DURATION, **labels) or 0

    client.get("/parcels/missing/")
    client.get("/parcels/teapot/")

    assert scraped().value(DURATION, **labels) == before + 2


def test_a_time_ends_where_the_answer_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Driven by hand: what the app does after its answer began takes no time of the request's."""
    labels = {"method": "GET", "route": "unmatched", "status": "2xx"}
    name = "push_http_request_duration_seconds_sum"
    before = scraped().value(name, **labels) or 0.0
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(access_log, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    async def answer_then_work(_scope: Scope, _receive: Receive, send: Send) -> None:
        clock.now += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        clock.now += 10

    async def request() -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        await AccessLogMiddleware(answer_then_work)(scope, _nothing, _forget)

    anyio.run(request)

    assert (scraped().value(name, **labels) or 0.0) - before == pytest.approx(1)


def test_a_client_that_left_before_the_answer_is_a_499() -> None:
    labels = {"route": "unmatched", "status": "499"}
    before = scraped().value(REQUESTS, **labels) or 0

    async def say_nothing(_scope: Scope, _receive: Receive, _send: Send) -> None: ...

    async def request() -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        await AccessLogMiddleware(say_nothing)(scope, _nothing, _forget)

    anyio.run(request)

    assert scraped().value(REQUESTS, **labels) == before + 1


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


async def _forget(_message: Message) -> None: ...


def test_nothing_stays_in_flight(client: TestClient) -> None:
    before = scraped().value("push_http_requests_in_flight")

    for path in ("/parcels/1/", "/parcels/broken/", "/nowhere/"):
        client.get(path)

    assert scraped().value("push_http_requests_in_flight") == before
