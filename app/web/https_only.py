"""In production, requests come by https, or are refused: by then their credentials have been readable on the way.

Never a redirect, which would make that work, and so hide it.
"""

import ipaddress
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.web.client_address import IPNetwork, is_within
from app.web.problems import problem_response

HSTS = f"max-age={365 * 24 * 3600}; includeSubDomains"
# For load balancers, orchestrators and Prometheus, which ask from within and show nothing.
PLAIN_HTTP_ROUTES = ("/health", "/metrics")
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


class HttpsOnly:
    """Answers 403 to what came by plain http, and tells browsers to come by https from now on (RFC 6797).

    The server's own TLS counts, and so does what a trusted proxy or a neighbour on this machine says in
    X-Forwarded-Proto. One that says nothing is believed to have come by https, or from this machine.
    """

    def __init__(self, app: ASGIApp, *, trusted_proxies: Iterable[IPNetwork]) -> None:
        self.app = app
        self.trusted = (*trusted_proxies, *LOOPBACK)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif self._is_https(scope):
            await self.app(scope, receive, _with_hsts(send))
        elif "/" + scope["path"].strip("/").partition("/")[0] in PLAIN_HTTP_ROUTES:
            await self.app(scope, receive, send)
        else:
            await _refusal()(scope, receive, send)

    def _is_https(self, scope: Scope) -> bool:
        if scope["scheme"] == "https":
            return True
        # A Unix socket's peer has no address; it is on this machine.
        peer = scope.get("client")
        if peer is not None and not is_within(peer[0], self.trusted):
            return False
        said = ",".join(Headers(scope=scope).getlist("x-forwarded-proto"))
        return not said or {each.strip().lower() for each in said.split(",")} == {"https"}


def _refusal() -> Response:
    return problem_response(
        403,
        code="https-needed",
        title="Only by https",
        detail="This came by plain http, where anybody on the way can read it: take its credentials for known, and "
        "send it to an https address. If a proxy speaks https for this service, name the proxy's address in "
        "TRUSTED_PROXIES, and have it send X-Forwarded-Proto.",
        headers={"Connection": "close"},  # a body may still be on its way
    )


def _with_hsts(send: Send) -> Send:
    async def send_with_hsts(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).setdefault("Strict-Transport-Security", HSTS)
        await send(message)

    return send_with_hsts
