"""Paths that pages of any origin may call, whatever CORS_ALLOWED_ORIGINS says: nothing there goes by a login.

Source: Fetch, "CORS protocol".
"""

from collections.abc import Set

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.web.routing import path_of

_TO_EVERY_PAGE = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Retry-After, X-Request-ID",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


class OpenToEveryPage:
    """Lets pages of every origin POST to these paths, given with their slash at the end, and read the answers."""

    def __init__(self, app: ASGIApp, *, paths: Set[str], preflight_max_age_seconds: int) -> None:
        self.app = app
        self.paths = paths | {path.removesuffix("/") for path in paths}
        self.preflight = {
            **_TO_EVERY_PAGE,
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": "Content-Type, X-Request-ID",
            "Access-Control-Max-Age": str(preflight_max_age_seconds),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or path_of(scope) not in self.paths:
            await self.app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS" and "access-control-request-method" in Headers(scope=scope):
            await Response(status_code=204, headers=self.preflight)(scope, receive, send)
            return

        async def send_to_every_page(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_TO_EVERY_PAGE)
            await send(message)

        await self.app(scope, receive, send_to_every_page)
