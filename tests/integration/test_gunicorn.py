"""The service under gunicorn, in two processes: metrics add up, limits are shared, workers may die."""

import json
import os
import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import redis

from app.web.http_protocol import MAX_HEAD_BYTES
from tests.support.api import (
    SERVICE_HEADERS,
    LiveServer,
    LiveServerFactory,
    bearer,
    launch,
    make_token,
    wait_until_it_answers,
)
from tests.support.children import children_of
from tests.support.databases import temporary_database
from tests.support.metric_samples import Samples
from tests.support.waiting import until

CONFIGURATION = Path(__file__).parents[2] / "docker" / "gunicorn.conf.py"
HISTORY = "/notifications/history/"

COMMAND = ["gunicorn", "-c", str(CONFIGURATION), "-b", "127.0.0.1:{port}", "app.main:app"]


@pytest.fixture(scope="module")
def shared_server(
    postgres_url: str, template_database: str, valkey_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    """One gunicorn with two workers for the tests that leave it running, with a limit that ten requests reach."""
    with temporary_database(postgres_url, template=template_database) as url:
        variables = {
            "DATABASE_URL": url,
            "REDIS_URL": valkey_url,
            "RATE_LIMIT_ANALYTICS": "10/hour",
            "RATE_LIMIT_SUBSCRIPTION": "10/hour",
            "TRUSTED_PROXIES": "127.0.0.1",
            "WEB_CONCURRENCY": "2",
        }
        running = launch(COMMAND, variables, tmp_path_factory.mktemp("gunicorn"))
        try:
            wait_until_it_answers(running)
            yield running
        finally:
            running.stop()


@pytest.fixture
def server(shared_server: LiveServer, redis_url: str) -> LiveServer:
    """Two workers that serve, no limit used up; a test may kill them. What was counted before stays counted."""
    wait_for_both(shared_server)
    return shared_server


def wait_for_both(server: LiveServer) -> None:
    until(lambda: len(workers_of(server)) == 2 and len(answering(server)) == 2, "two workers answer")


def workers_of(server: LiveServer) -> set[int]:
    """Return the pids of the living workers."""
    return {child.pid for child in children_of(server.process.pid)}


def answering(server: LiveServer) -> set[str]:
    """Return which processes hold a file of gauges: those that count requests."""
    data_dir = server.log_path.parent / "data" / "metrics"
    return {path.stem.rpartition("_")[2] for path in data_dir.glob("gauge_livesum_*.db")}


def get(server: LiveServer, path: str) -> httpx.Response:
    """Ask on a connection of its own, so that either worker may answer."""
    return httpx.get(server.url + path, headers=dict(SERVICE_HEADERS), timeout=60)


def scrape(server: LiveServer) -> Samples:
    return Samples(get(server, "/metrics/").text)


def history_requests(samples: Samples) -> float:
    return samples.value("push_http_requests_total", route=HISTORY, status="200") or 0


def test_counts_of_both_workers_add_up_in_every_scrape(server: LiveServer) -> None:
    before = history_requests(scrape(server))

    answers = [get(server, HISTORY).status_code for _ in range(40)]
    counted = {history_requests(scrape(server)) for _ in range(10)}

    assert answers == [200] * 40
    assert counted == {before + 40}


def test_a_killed_worker_is_replaced_and_its_counts_stay(server: LiveServer) -> None:
    before = history_requests(scrape(server))
    for _ in range(20):
        get(server, HISTORY)
    workers = workers_of(server)

    os.kill(min(workers), signal.SIGKILL)
    until(lambda: len(workers_of(server) - workers) == 1 and len(answering(server)) == 2, "a new worker answers")
    for _ in range(20):
        get(server, HISTORY)

    samples = scrape(server)
    assert history_requests(samples) == before + 40
    assert samples.value("push_http_requests_in_flight") == 1, "the scrape itself, and nothing the dead one held"
    assert samples.value("push_build_info") == 1


def test_one_worker_refreshes_the_gauges_and_another_takes_over(server: LiveServer) -> None:
    """The gauge about the database stays one number, whoever sets it."""
    until(lambda: scrape(server).value("push_active_subscriptions") is not None, "the gauges are refreshed")

    for pid in workers_of(server):
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(workers_of(server)) == 2, "both workers are replaced")

    def refreshed() -> float:
        return scrape_if_up(server).value("push_database_gauges_refreshed_timestamp_seconds") or 0

    killed_at = time.time()
    until(lambda: refreshed() > killed_at, "a new worker refreshes them")
    assert scrape(server).value("push_active_subscriptions") == 0
    assert scrape(server).value("push_database_up") == 1


def scrape_if_up(server: LiveServer) -> Samples:
    try:
        return scrape(server)
    except httpx.TransportError:  # both workers are just starting
        return Samples("")


def uncounted(samples: Samples) -> float:
    return samples.value("push_rate_limiter_failures_total") or 0


@pytest.mark.parametrize(
    ("path", "of_each"),
    [
        ("/analytics/subscriptions/", lambda _: SERVICE_HEADERS),
        ("/subscriptions/{id}/", lambda number: bearer(make_token(user_id="42", jti=str(number)))),
        (
            "/subscriptions/{id}/",
            # The left one the client made up itself: only what the proxy added counts.
            lambda number: {
                **bearer(make_token(push_anonymous=True)),
                "X-Forwarded-For": f"198.51.100.{number}, 203.0.113.9",
            },
        ),
    ],
    ids=["a key", "a user", "an address"],
)
def test_each_has_its_limit_over_both_workers_at_once(
    server: LiveServer, redis_url: str, path: str, of_each: Callable[[int], Mapping[str, str]]
) -> None:
    def ask(number: int) -> httpx.Response:
        asked = path.replace("{id}", str(uuid.UUID(int=number)))
        return httpx.get(server.url + asked, headers=dict(of_each(number)), timeout=60)

    for _ in range(10):
        with closing(redis.Redis.from_url(redis_url)) as client:
            client.flushall()
        before = uncounted(scrape(server))
        with ThreadPoolExecutor(6) as threads:
            answers = list(threads.map(ask, range(30)))
        if uncounted(scrape(server)) == before:  # else a busy machine kept Redis from answering in time
            break

    passed = [answer for answer in answers if answer.status_code in {200, 404}]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert (len(passed), len(refused)) == (10, 20)
    assert all(answer.headers["Retry-After"] for answer in refused)
    assert {answer.headers["X-RateLimit-Limit"] for answer in answers} == {"10"}


def test_production_logs_json_shows_no_banner_and_stops_gently(start_server: LiveServerFactory) -> None:
    server = start_server(
        command=COMMAND,
        WEB_CONCURRENCY="2",
        ENVIRONMENT="production",
        VAPID_SUBJECT="mailto:push@blog.example.org",
        PUSH_ALLOW_LOOPBACK="false",
    )
    wait_for_both(server)
    answer = get(server, HISTORY)
    get(server, "/health/live")
    stopping_at = time.monotonic()

    exit_code = server.stop()

    assert (exit_code, time.monotonic() - stopping_at < 20) == (0, True)
    assert "server" not in answer.headers
    lines = [json.loads(line) for line in server.output().splitlines()]
    events = [line["event"] for line in lines]
    assert any(event.startswith("Listening at") for event in events), "the master"
    assert any(event.startswith("Application startup complete") for event in events), "the workers"
    assert [line["route"] for line in lines if line["event"] == "request"][-1] == HISTORY
    assert not any("GET /" in event for event in events), "no second access log"
    assert not any("exception" in line for line in lines)


def test_a_header_without_end_is_refused(server: LiveServer) -> None:
    address = urlsplit(server.url)

    with socket.create_connection((str(address.hostname), address.port or 0), timeout=60) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nX-Long: " + b"x" * MAX_HEAD_BYTES)
        answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"\r\ncontent-type: application/problem+json\r\n" in answer


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"RATE_LIMIT_ANALYTICS": "often"}, "RATE_LIMIT_ANALYTICS: "),
        ({"JWT_ALGORITHMS": "none"}, "JWT_ALGORITHMS: "),  # found by the app, in the worker
        ({"DATA_DIR": f"{CONFIGURATION}/data"}, f"Metrics cannot be kept in {CONFIGURATION}/data/metrics"),
    ],
)
def test_settings_that_cannot_be_used_stop_it_with_a_clear_message(
    start_server: LiveServerFactory, variables: dict[str, str], told: str
) -> None:
    with pytest.raises(pytest.fail.Exception) as failure:
        start_server(command=COMMAND, WEB_CONCURRENCY="1", **variables)

    assert "The server ended." in str(failure.value)
    assert told in str(failure.value)
    assert "Traceback" not in str(failure.value)
