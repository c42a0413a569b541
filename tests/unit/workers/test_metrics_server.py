"""The metrics of workers apart from the API."""

from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import httpx
import pytest
from structlog.testing import capture_logs

from app.observability import metrics
from app.workers.metrics_server import serve_metrics

LOOPBACK = "127.0.0.1"


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = serve_metrics(0, LOOPBACK)
    assert server is not None
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def url(server: ThreadingHTTPServer) -> str:
    return f"http://{LOOPBACK}:{server.server_port}"


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/metrics?name=value"])
def test_metrics_are_served_for_prometheus(url: str, path: str) -> None:
    answer = httpx.get(url + path, timeout=60)

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == metrics.render()[1]
    assert "push_build_info" in answer.text


def test_nothing_else_is(url: str) -> None:
    answer = httpx.get(url + "/health/", timeout=60)

    assert answer.status_code == 404
    assert answer.headers["Server"] == "metrics"


def test_a_port_that_is_taken_is_told_and_stops_nothing(server: ThreadingHTTPServer) -> None:
    with capture_logs() as logs:
        second = serve_metrics(server.server_port, LOOPBACK)

    assert second is None
    assert logs[0]["event"] == "metrics not served; set WORKER_METRICS_PORT"
