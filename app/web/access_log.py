"""Every request gets an id, one line in the log, and its time measured.

Lines and labels carry the route's template, never the path: a path can hold a token.
"""

import re
import time
from random import getrandbits

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.observability import metrics
from app.observability.logging import REQUEST_ID
from app.web.routing import route_template

REQUEST_ID_HEADER = b"x-request-id"

_SANE_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_QUIET_ROUTES = ("/health", "/metrics")  # asked every few seconds by machines
_BUSY_ROUTES = ("/receipts",)  # a thousand times a second: a line costs more than all the rest
_GAVE_UP = 499  # nginx's number for a client that left before the answer

log = structlog.stdlib.get_logger(__name__)


class AccessLogMiddleware:
    """The outermost middleware of ours: what it does not see is not counted.

    A request's time ends where its answer begins: a background task or a stream of events is not waiting.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(**{REQUEST_ID: request_id.decode("ascii")})
        status = _GAVE_UP
        started = answered = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status = message["status"]
                answered = time.perf_counter()
                headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != REQUEST_ID_HEADER]
                message["headers"] = [*headers, (REQUEST_ID_HEADER, request_id)]
            await send(message)

        metrics.http_requests_in_flight.inc()
        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            if status == _GAVE_UP:
                status = 500
            raise
        finally:
            metrics.http_requests_in_flight.dec()
            if answered == started:
                answered = time.perf_counter()
            _record(scope, status, answered - started)


def _record(scope: Scope, status: int, seconds: float) -> None:
    route = route_template(scope)
    method = scope["method"] if scope["method"] in _METHODS else "OTHER"
    metrics.http_requests.labels(method=method, route=route, status=str(status)).inc()
    metrics.http_request_duration.labels(method=method, route=route, status=f"{status // 100}xx").observe(seconds)
    is_quiet = route.startswith(_QUIET_ROUTES) or (status < 400 and route.startswith(_BUSY_ROUTES))
    write = log.debug if is_quiet else log.info
    write(
        "request",
        method=method,
        route=route,
        status=status,
        duration_ms=round(seconds * 1000, 1),
        client=_client_kind(scope),
    )


def _request_id(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == REQUEST_ID_HEADER:
            return value if _SANE_ID.fullmatch(value) else _new_id()
    return _new_id()


def _new_id() -> bytes:
    # It names a request and guards nothing. The system's randomness costs a call of it, and every thread a turn.
    return b"%032x" % getrandbits(128)  # nosec B311


def _client_kind(scope: Scope) -> str:
    """Tell what the client showed, proven or not."""
    names = {name for name, _ in scope["headers"]}
    if b"x-api-key" in names:
        return "api-key"
    return "jwt" if b"authorization" in names else "none"
