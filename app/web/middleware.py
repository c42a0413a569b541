"""What happens to every request before a router sees it, and to every answer on its way out. Pure ASGI.

In order, from the outside: access log, secure headers, what is open to every page, https only, CORS, unexpected
errors, body limit, HEAD.
"""

import sys

from fastapi.middleware.cors import CORSMiddleware
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import TooLarge
from app.settings import Settings
from app.web.access_log import AccessLogMiddleware
from app.web.every_page import OpenToEveryPage
from app.web.https_only import HttpsOnly
from app.web.problems import internal_error, problem_response
from app.web.secure_headers import ResponseHeaders

MAX_BODY_BYTES = 1024 * 1024
# The largest send, to 10,000 user and 10,000 subscription ids, has 20,000. Without a bound, a body of brackets
# keeps the whole process for a third of a second, before anybody has asked who sent it.
MAX_BODY_VALUES = 50_000
PREFLIGHT_MAX_AGE_SECONDS = 2 * 3600
OPEN_TO_EVERY_PAGE = frozenset({"/receipts/"})

_REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "Prefer",
    "X-Give-Up-At",
    "X-Request-ID",
    "X-Subscription-Auth",
)
_EXPOSED_HEADERS = (
    "Idempotency-Replayed",
    "Location",
    "Preference-Applied",
    "Retry-After",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-Request-ID",
)


def middleware(settings: Settings) -> list[Middleware]:
    """Return the app's middleware, the outermost first."""
    cors = Middleware(
        Cors,
        allow_origins=settings.cors_allowed_origins,
        allow_methods=("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
        allow_headers=_REQUEST_HEADERS,
        expose_headers=_EXPOSED_HEADERS,
        max_age=PREFLIGHT_MAX_AGE_SECONDS,
    )
    https_only = Middleware(HttpsOnly, trusted_proxies=settings.trusted_proxies)
    return [
        Middleware(AccessLogMiddleware),
        Middleware(ResponseHeaders),
        Middleware(OpenToEveryPage, paths=OPEN_TO_EVERY_PAGE, preflight_max_age_seconds=PREFLIGHT_MAX_AGE_SECONDS),
        *([https_only] if settings.is_production else []),
        *([cors] if settings.cors_allowed_origins else []),
        Middleware(UnexpectedErrors),
        Middleware(BodyLimit, max_bytes=MAX_BODY_BYTES, max_values=MAX_BODY_VALUES),
        Middleware(HeadAsGet),
    ]


class PlainStartupFailure:
    """When the app cannot start, has the server log why in words, without a traceback, if the fault is expected."""

    def __init__(self, app: ASGIApp, *, expected: tuple[type[Exception], ...]) -> None:
        self.app = app
        self.expected = expected

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_plainly(message: Message) -> None:
            error = sys.exception()
            if message["type"] == "lifespan.startup.failed" and isinstance(error, self.expected):
                message = {**message, "message": str(error)}
            await send(message)

        await self.app(scope, receive, send_plainly if scope["type"] == "lifespan" else send)


class UnexpectedErrors:
    """Answers 500 when something raised what nobody expected.

    Starlette's own place for this is outside all other middleware, so its answer would lack CORS headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        has_started = False

        async def watch(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except Exception as error:
            response = internal_error(scope, error)
            if has_started:
                raise  # half an answer is out: the server closes the connection
            await response(scope, receive, send)


class Cors(CORSMiddleware):
    """Starlette's, with a problem document for a preflight that is refused.

    What an answer itself says of who may read it is kept: it is the same for all, so that caches need one copy.
    """

    async def send(self, message: Message, send: Send, request_headers: Headers) -> None:
        is_start = message["type"] == "http.response.start"
        if is_start and "Access-Control-Allow-Origin" in Headers(raw=message["headers"]):
            await send(message)
        else:
            await super().send(message, send, request_headers)

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        refused = bytes(response.body).decode()
        return problem_response(
            400,
            code="cors-refused",
            title="Not allowed from this page",
            detail=f"{refused}. CORS_ALLOWED_ORIGINS lists who may call; X-API-Key is not for browsers.",
            headers={name: value for name, value in response.headers.items() if not name.startswith("content-")},
        )


class BodyLimit:
    """Answers 413 to a body that is too large, or of too many values for its size.

    At once when its length is announced, else when it gets there.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, max_values: int) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.max_values = max_values

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # The rest of the body is still on its way: closing the connection spares us reading it.
        headers = {"Connection": "close"}
        too_many_bytes = f"The body is larger than {self.max_bytes} bytes."
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self.max_bytes:
            refusal = problem_response(
                413, code=TooLarge.code, title=TooLarge.title, detail=too_many_bytes, headers=headers
            )
            await refusal(scope, receive, send)
            return
        received = values = 0

        async def receive_counted() -> Message:
            nonlocal received, values
            message = await receive()
            part = message.get("body", b"")
            received += len(part)
            values += sum(part.count(sign) for sign in (b",", b"[", b"{"))
            # HTTPException is the one that FastAPI lets through while it reads a body.
            if received > self.max_bytes:
                raise HTTPException(413, too_many_bytes, headers=headers)
            if values > self.max_values:
                raise HTTPException(413, f"The body has more than {self.max_values} values.", headers=headers)
            return message

        await self.app(scope, receive_counted, send)


class HeadAsGet:
    """Answers HEAD as GET without the body (RFC 9110 section 9.3.2); FastAPI's routes know GET only."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            scope["method"] = "HEAD"  # the server looks again, to know that no body will follow
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        scope["method"] = "GET"  # in place, because the access log reads the route from this very scope
        try:
            await self.app(scope, receive, send_without_body)
        finally:
            scope["method"] = "HEAD"
