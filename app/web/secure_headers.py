"""The headers that every answer has, whoever gives it: with them a browser does nothing that nobody wants."""

from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

API_CSP = "default-src 'none'; frame-ancestors 'none'"
_PAGE_CSP = "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
# Pages of ours, off in production unless asked for. Nothing but a notification's pictures may come from elsewhere.
PAGE_CSP: Mapping[str, str] = {
    "/demo": f"default-src 'self'; img-src 'self' data: https:; {_PAGE_CSP}",
    "/docs": f"default-src 'self'; img-src 'self' data:; {_PAGE_CSP}",
}

SECURE_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": API_CSP,
    "Cross-Origin-Opener-Policy": "same-origin",
    # Pages of other origins read what CORS lets them; what they merely embed never gets into their process.
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class ResponseHeaders:
    """Adds these headers, and the rate-limit headers that a dependency left in the request's state.

    A header that the answer already has is kept.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        page = PAGE_CSP.get("/" + scope["path"].lstrip("/").partition("/")[0])

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if page:
                    headers.setdefault("Content-Security-Policy", page)
                for name, value in {**SECURE_HEADERS, **state.get("rate_limit_headers", {})}.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)
