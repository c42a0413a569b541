"""Every kind of answer has the headers that protect a browser, whoever gives it."""

from collections.abc import AsyncIterator

import pytest
from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError

from app.errors import RateLimited, Unauthenticated
from app.main import create_app
from app.web.routing import api_router
from app.web.secure_headers import SECURE_HEADERS
from tests.support.api import build_settings
from tests.unit.web.conftest import EdgeFactory

PAGE = "https://blog.example.com"
PREFLIGHT = {"Origin": PAGE, "Access-Control-Request-Method": "PUT"}
PRODUCTION = {
    "environment": "production",
    "database_url": "postgresql://nowhere/db",
    "vapid_subject": "mailto:push@example.org",
    "push_allow_loopback": False,
}


def _things() -> APIRouter:
    router = api_router(prefix="/things")

    @router.get("/")
    def get() -> str:
        return "thing"

    @router.post("/", status_code=201)
    def post(thing: dict[str, int]) -> dict[str, int]:
        return thing

    @router.delete("/", status_code=204)
    def delete() -> Response:
        return Response(status_code=204)

    @router.get("/broken/")
    def fail() -> None:
        raise RuntimeError("broken")

    @router.get("/away/")
    def away() -> None:
        raise OperationalError("SELECT", {}, Exception("away"))

    @router.get("/private/")
    def private() -> None:
        raise Unauthenticated("Who are you?")

    @router.get("/often/")
    def often() -> None:
        raise RateLimited("Later.", retry_after_seconds=1)

    @router.get("/stream/")
    def stream() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"data: 1\n\n"

        return StreamingResponse(parts(), media_type="text/event-stream")

    return router


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """One small app for all, without a database."""
    app = create_app(build_settings(data_dir=tmp_path_factory.mktemp("data"), cors_allowed_origins=[PAGE]))
    app.include_router(_things())
    return TestClient(app)


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("GET", "/things/", {}, b"", 200),
        ("HEAD", "/things/", {}, b"", 200),
        ("GET", "/things/stream/", {}, b"", 200),
        ("GET", "/openapi.json", {}, b"", 200),
        ("OPTIONS", "/things/", PREFLIGHT, b"", 200),
        ("POST", "/things/", {}, b'{"a": 1}', 201),
        ("DELETE", "/things/", {}, b"", 204),
        ("OPTIONS", "/things/", {}, b"", 204),
        ("OPTIONS", "/things/", {**PREFLIGHT, "Origin": "https://evil.example"}, b"", 400),
        ("POST", "/things/", {}, b"{", 400),
        ("GET", "/things/private/", {}, b"", 401),
        ("GET", "/nowhere/", {}, b"", 404),
        ("TRACE", "/things/", {}, b"", 405),
        ("BREW", "/things/", {}, b"", 405),
        ("POST", "/things/", {}, b" " * (1024 * 1024 + 1), 413),
        ("POST", "/things/", {"Content-Type": "text/plain"}, b"x", 415),
        ("POST", "/things/", {}, b'{"a": "x"}', 422),
        ("GET", "/things/often/", {}, b"", 429),
        ("GET", "/things/broken/", {}, b"", 500),
        ("GET", "/things/away/", {}, b"", 503),
    ],
)
def test_every_answer_has_them(
    client: TestClient, method: str, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    answer = client.request(
        method, path, headers={"Content-Type": "application/json", "Origin": PAGE, **headers}, content=body
    )

    assert answer.status_code == status
    assert {name: answer.headers.get(name) for name in SECURE_HEADERS} == dict(SECURE_HEADERS)
    assert "server" not in answer.headers
    assert "strict-transport-security" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/demo", "/demo/demo.js", "/demo/service-worker.js", "/docs", "/docs/start.js", "/docs/nothing.js"]
)
def test_a_page_may_load_what_is_ours_and_has_the_others_too(client: TestClient, path: str) -> None:
    answer = client.get(path)

    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    others = SECURE_HEADERS.keys() - {"Content-Security-Policy", "Cache-Control"}
    assert {name: answer.headers.get(name) for name in others} == {name: SECURE_HEADERS[name] for name in others}


def test_production_shows_neither_documentation_nor_demo(edge: EdgeFactory) -> None:
    client = edge(_things(), **PRODUCTION)
    paths = ("/docs", "/openapi.json", "/docs/start.js", "/demo", "/demo/token", "/demo/notifications", "/")

    assert [client.get(path).status_code for path in paths] == [404] * len(paths)


def test_production_shows_the_documentation_if_told_to_but_no_demo(edge: EdgeFactory) -> None:
    client = edge(_things(), **PRODUCTION, docs_enabled=True)

    assert [client.get(path).status_code for path in ("/docs", "/openapi.json", "/demo")] == [200, 200, 404]


def test_development_hides_the_documentation_if_told_to(edge: EdgeFactory) -> None:
    client = edge(_things(), docs_enabled=False)

    assert [client.get(path).status_code for path in ("/docs", "/openapi.json", "/demo")] == [404, 404, 200]


def test_nothing_is_built_from_the_host_that_a_client_names(client: TestClient) -> None:
    paths = ("/things/", "/nowhere/", "/demo", "/docs", "/openapi.json", "/")
    answers = [client.get(path, headers={"Host": "evil.example"}, follow_redirects=False) for path in paths]

    assert not any("evil.example" in answer.text + str(answer.headers) for answer in answers)
