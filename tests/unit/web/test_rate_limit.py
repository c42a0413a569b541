import socket
import time
from contextlib import suppress

import pytest
from fastapi import APIRouter, Depends
from fastapi.testclient import TestClient
from prometheus_client import REGISTRY

from app import redis_connection
from app.errors import NotFound
from app.web import limiter
from app.web.rate_limit import limited
from app.web.routing import api_router
from tests.support.api import SERVICE_HEADERS, bearer, make_token
from tests.support.valkey import ValkeyServer
from tests.support.waiting import until
from tests.unit.web.conftest import EdgeFactory

LIMITS = {
    "rate_limit_subscription": "3/hour",
    "rate_limit_notification": "2/hour",
    "rate_limit_analytics": "1/minute",
}
DEADLINE_SECONDS = 60.0


def _limited_routes() -> APIRouter:
    router = api_router()

    @router.get("/subscribe/", dependencies=[Depends(limited("subscription"))])
    def subscribe() -> str:
        return "ok"

    @router.get("/notify/", dependencies=[Depends(limited("notification"))])
    def notify(number: int = 0) -> int:
        return number

    @router.get("/analyse/", dependencies=[Depends(limited("analytics"))])
    def analyse() -> str:
        raise NotFound("Nothing there.")

    return router


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that a busy machine keeps from answering is not taken for one that is gone."""
    monkeypatch.setattr(redis_connection, "TIMEOUT_SECONDS", DEADLINE_SECONDS)


@pytest.fixture
def client(edge: EdgeFactory) -> TestClient:
    return edge(_limited_routes(), **LIMITS)


def _statuses(client: TestClient, path: str, headers: dict[str, str], times: int) -> list[int]:
    return [client.get(path, headers=headers).status_code for _ in range(times)]


def _failures() -> float:
    return REGISTRY.get_sample_value("push_rate_limiter_failures_total") or 0.0


def _user(user_id: str) -> dict[str, str]:
    return bearer(make_token(user_id=user_id))


def test_the_answers_count_down(client: TestClient) -> None:
    answers = [client.get("/subscribe/", headers=SERVICE_HEADERS) for _ in range(3)]

    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["2", "1", "0"]
    assert {answer.headers["x-ratelimit-limit"] for answer in answers} == {"3"}
    assert 0 < int(answers[0].headers["x-ratelimit-reset"]) - time.time() <= 3601


def test_beyond_the_limit_is_a_429_that_says_when_to_come_back(client: TestClient) -> None:
    statuses = _statuses(client, "/notify/", dict(SERVICE_HEADERS), 2)

    response = client.get("/notify/", headers=SERVICE_HEADERS)

    assert statuses == [200, 200]
    assert response.status_code == 429
    assert 3500 < int(response.headers["retry-after"]) <= 3601
    assert response.headers["x-ratelimit-remaining"] == "0"
    assert response.json()["type"] == "/problems/rate-limited"


def test_each_kind_counts_by_itself(client: TestClient) -> None:
    _statuses(client, "/notify/", dict(SERVICE_HEADERS), 3)

    assert client.get("/subscribe/", headers=SERVICE_HEADERS).status_code == 200


def test_each_client_counts_by_itself(client: TestClient) -> None:
    assert _statuses(client, "/notify/", _user("1"), 3) == [200, 200, 429]

    assert client.get("/notify/", headers=_user("2")).status_code == 200
    assert client.get("/notify/", headers=SERVICE_HEADERS).status_code == 200


def test_a_new_token_of_the_same_user_is_no_new_client(client: TestClient) -> None:
    statuses = [
        client.get("/notify/", headers=bearer(make_token(user_id="1", jti=str(i)))).status_code for i in range(3)
    ]

    assert statuses == [200, 200, 429]


def test_anonymous_browsers_count_by_address(edge: EdgeFactory, anonymous_headers: dict[str, str]) -> None:
    client = edge(_limited_routes(), **LIMITS)

    # No proxy is trusted, so the header that they made up changes nothing.
    statuses = [
        client.get("/notify/", headers={**anonymous_headers, "X-Forwarded-For": f"203.0.113.{i}"}).status_code
        for i in range(3)
    ]

    assert statuses == [200, 200, 429]


def test_an_answer_that_is_a_problem_carries_the_headers_too(client: TestClient) -> None:
    missing = client.get("/analyse/", headers=SERVICE_HEADERS)
    invalid = client.get("/notify/?number=x", headers=SERVICE_HEADERS)

    assert (missing.status_code, missing.headers["x-ratelimit-remaining"]) == (404, "0")
    assert (invalid.status_code, invalid.headers["x-ratelimit-remaining"]) == (422, "1")


def test_who_is_not_let_in_is_not_counted(client: TestClient) -> None:
    response = client.get("/notify/")

    assert response.status_code == 401
    assert "x-ratelimit-limit" not in response.headers


@pytest.mark.usefixtures("patient")
def test_two_processes_share_their_counts_through_redis(edge: EdgeFactory, redis_url: str) -> None:
    one = edge(_limited_routes(), **LIMITS, redis_url=redis_url)
    other = edge(_limited_routes(), **LIMITS, redis_url=redis_url.replace("redis://", "valkey://"))

    statuses = [client.get("/notify/", headers=SERVICE_HEADERS).status_code for client in (one, other, one, other)]

    assert statuses == [200, 200, 429, 429]


@pytest.mark.usefixtures("patient")
def test_without_redis_everybody_passes_and_it_is_counted(
    edge: EdgeFactory, stoppable_valkey: ValkeyServer
) -> None:
    client = edge(_limited_routes(), **LIMITS, redis_url=stoppable_valkey.url)
    assert client.get("/notify/", headers=SERVICE_HEADERS).headers["x-ratelimit-remaining"] == "1"
    stoppable_valkey.stop()
    failures_before = _failures()

    responses = [client.get("/notify/", headers=SERVICE_HEADERS) for _ in range(5)]

    assert [response.status_code for response in responses] == [200] * 5
    assert "x-ratelimit-limit" not in responses[0].headers
    assert _failures() - failures_before == 5


@pytest.mark.usefixtures("patient")
def test_limits_hold_again_once_redis_is_back(edge: EdgeFactory, stoppable_valkey: ValkeyServer) -> None:
    client = edge(_limited_routes(), **LIMITS, redis_url=stoppable_valkey.url)
    client.get("/notify/", headers=SERVICE_HEADERS)
    stoppable_valkey.stop()
    client.get("/notify/", headers=SERVICE_HEADERS)

    stoppable_valkey.start()

    until(lambda: client.get("/notify/", headers=SERVICE_HEADERS).status_code == 429)


@pytest.mark.usefixtures("patient")
def test_a_restarted_redis_costs_nobody_anything(edge: EdgeFactory, stoppable_valkey: ValkeyServer) -> None:
    client = edge(_limited_routes(), **LIMITS, redis_url=stoppable_valkey.url)
    client.get("/notify/", headers=SERVICE_HEADERS)
    stoppable_valkey.stop()
    stoppable_valkey.start()
    failures_before = _failures()

    response = client.get("/notify/", headers=SERVICE_HEADERS)

    assert response.headers["x-ratelimit-remaining"] == "1"
    assert _failures() == failures_before


def test_an_unreachable_redis_delays_one_request_not_all(
    edge: EdgeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A listener that never answers: connections succeed, and then nothing comes.

    monkeypatch.setattr(limiter, "PAUSE_SECONDS", 3600.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = edge(_limited_routes(), **LIMITS, redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")

        first = _statuses(client, "/notify/", dict(SERVICE_HEADERS), 1)
        asked = _connections(silent)
        others = _statuses(client, "/notify/", dict(SERVICE_HEADERS), 20)

        assert first + others == [200] * 21
        assert asked > 0
        assert _connections(silent) == 0, "nobody asked it again"


def _connections(listener: socket.socket) -> int:
    """Take the connections that wait to be accepted, and return how many there were."""
    listener.setblocking(False)
    taken = 0
    with suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            taken += 1
    return taken
