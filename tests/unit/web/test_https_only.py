"""Production answers what came by https, whoever says so and may; development does not ask."""

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient

from app.main import create_app
from app.web.routing import api_router
from tests.support.api import SettingsFactory, build_settings

PRODUCTION: dict[str, Any] = {
    "environment": "production",
    "database_url": "postgresql://nowhere/db",
    "vapid_subject": "mailto:push@example.org",
    "push_allow_loopback": False,
    "trusted_proxies": ["10.0.0.0/8", "2001:db8:1::/48"],
}
PATH = "/things/"


def _things() -> APIRouter:
    router = api_router()

    @router.get(PATH)
    def show() -> str:
        return "shown"

    return router


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """One small app for all, without a database."""
    app = create_app(build_settings(**PRODUCTION, data_dir=tmp_path_factory.mktemp("data")))
    app.include_router(_things())
    return app


def _client(app: FastAPI, peer: str, scheme: str = "http") -> TestClient:
    return TestClient(app, base_url=f"{scheme}://push.example.org", client=(peer, 50000))


@pytest.mark.parametrize(
    ("peer", "forwarded_proto"),
    [
        ("203.0.113.9", None),
        ("203.0.113.9", "https"),  # anybody can write that
        ("10.1.1.1", "http"),
        ("10.1.1.1", "https, http"),
        ("10.1.1.1", "http,https"),
        ("10.1.1.1", "wss"),
        ("10.1.1.1", "httpss"),
        ("127.0.0.1", "http"),
        ("::1", "http"),
        ("127.0.0.1.example.org", None),
        ("not an address", None),
    ],
)
def test_plain_http_is_refused(app: FastAPI, peer: str, forwarded_proto: str | None) -> None:
    headers = {"X-Forwarded-Proto": forwarded_proto} if forwarded_proto else {}

    answer = _client(app, peer).get(PATH, headers=headers, follow_redirects=False)

    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/https-needed")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["connection"] == "close"
    assert "strict-transport-security" not in answer.headers, "RFC 6797 section 7.2"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("peer", "forwarded_proto", "scheme"),
    [
        ("203.0.113.9", None, "https"),
        ("203.0.113.9", "http", "https"),
        ("10.1.1.1", "https", "http"),
        ("10.1.1.1", "HTTPS", "http"),
        ("10.1.1.1", "https, https", "http"),
        ("::ffff:10.1.1.1", "https", "http"),
        ("2001:db8:1::7", "https", "http"),
        ("10.1.1.1", None, "http"),
        ("127.0.0.1", None, "http"),
        ("127.0.0.1", "https", "http"),
        ("::1", None, "http"),
    ],
)
def test_https_passes_and_so_does_what_is_next_door(
    app: FastAPI, peer: str, forwarded_proto: str | None, scheme: str
) -> None:
    headers = {"X-Forwarded-Proto": forwarded_proto} if forwarded_proto else {}

    answer = _client(app, peer, scheme).get(PATH, headers=headers)

    assert answer.status_code == 200
    assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"


@pytest.mark.parametrize("path", ["/health/live", "/health/live/", "/metrics/", "/metrics"])
def test_who_watches_the_service_needs_no_https(app: FastAPI, path: str) -> None:
    answer = _client(app, "203.0.113.9").get(path)

    assert answer.status_code == 200
    assert "strict-transport-security" not in answer.headers


@pytest.mark.parametrize("path", ["/healthy", "/metricsx/", "//things/", "/"])
def test_what_only_looks_like_it_does(app: FastAPI, path: str) -> None:
    assert _client(app, "203.0.113.9").get(path).status_code == 403


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "POST", "DELETE", "TRACE"])
def test_every_method_is_refused(app: FastAPI, method: str) -> None:
    assert _client(app, "203.0.113.9").request(method, PATH).status_code == 403


def test_a_unix_sockets_peer_is_next_door(app: FastAPI) -> None:
    client = TestClient(app, client=None)  # type: ignore[arg-type]  # as uvicorn tells it

    assert client.get(PATH).status_code == 200


def test_development_does_not_ask(make_settings: SettingsFactory) -> None:
    app = create_app(make_settings())
    app.include_router(_things())

    answer = _client(app, "203.0.113.9").get(PATH)

    assert answer.status_code == 200
    assert "strict-transport-security" not in answer.headers
