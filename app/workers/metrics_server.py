"""/metrics of workers that run apart from the API: one port for all of them."""

import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog

from app.observability import metrics

ANYWHERE = ""  # as the API in its container: what is published of it, the deployment decides

log = structlog.get_logger(__name__)


def serve_metrics(port: int, host: str = ANYWHERE) -> ThreadingHTTPServer | None:
    """Serve them from now on, in a thread. None when the port cannot be had: workers go on working without it."""
    try:
        server = ThreadingHTTPServer((host, port), _MetricsRequest)
    except OSError as error:
        log.warning("metrics not served; set WORKER_METRICS_PORT", port=port, reason=error.strerror)
        return None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


class _MetricsRequest(BaseHTTPRequestHandler):
    timeout = 10

    def do_GET(self) -> None:
        if self.path.partition("?")[0].rstrip("/") != "/metrics":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        body, content_type = metrics.render()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "metrics"  # not which Python this is

    def log_message(self, *_arguments: Any) -> None:
        """Scrapes are no news."""
