"""Connections for the pywebpush adapter: made to the checked address, and never waited on without end.

requests and urllib3 are taught three things here: where a name may lead and for how long, that an answer has a
deadline as a whole (their read timeout starts anew with every byte), and which failure means that a kept
connection had been closed.
"""

import socket
import ssl
import time
from collections.abc import Callable, Sequence
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any

from requests import Response, Session
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

from app.push.address import ADDRESS_LIFE_SECONDS, CheckedAddress
from app.push.request import USER_AGENT
from app.push.sender import Timeouts
from app.push.trust import client_tls

Resolve = Callable[[str, int], Sequence[CheckedAddress]]

_HOSTS_KEPT = 64
# BrokenPipeError and RemoteDisconnected are ConnectionErrors, too.
_BROKEN = (ConnectionError, ssl.SSLEOFError)


class CannotConnect(OSError):
    """No address of the host took the connection: nothing was sent."""


class StaleConnection(OSError):
    """A kept connection had been closed by the push service: the request is worth one more try at once."""


class _Deadline:
    """Lets every read of a socket end at one moment. Mixed into the plain and the TLS socket."""

    deadline: float | None = None

    def recv_into(self, *args: Any) -> int:
        if self.deadline is not None:
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the answer took too long")
            self.settimeout(min(left, self.gettimeout() or left))  # type: ignore[attr-defined]
        return super().recv_into(*args)  # type: ignore[misc,no-any-return]


class _PlainSocket(_Deadline, socket.socket):
    pass


class _TlsSocket(_Deadline, ssl.SSLSocket):
    pass


class _Checked:
    """What both kinds of connection do in their own way. Mixed in before urllib3's class."""

    resolve: Resolve
    timeouts: Timeouts
    answered = 0
    good_until = 0.0

    @property
    def is_connected(self) -> bool:
        """Whether a kept connection may be used again: urllib3 asks before it does, and else makes a new one."""
        return time.monotonic() < self.good_until and bool(super().is_connected)  # type: ignore[misc]

    def _new_conn(self) -> socket.socket:
        self.answered = 0
        self.good_until = time.monotonic() + ADDRESS_LIFE_SECONDS
        host, port = self.host.strip("[]"), self.port  # type: ignore[attr-defined]
        ends_at = time.monotonic() + self.timeouts.connect_seconds
        failure: OSError | None = None
        for address in type(self).resolve(host, port):
            try:
                return _connected(address, left_seconds=max(ends_at - time.monotonic(), 0.001))
            except OSError as error:
                failure = error
        raise CannotConnect(f"{host} does not take connections") from failure

    def request(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]
        except _BROKEN as error:
            self._raise_if_stale(error)
            raise

    def getresponse(self) -> Any:
        sock = self.sock  # type: ignore[attr-defined]
        sock.deadline = time.monotonic() + self.timeouts.answer_seconds
        try:
            response = super().getresponse()  # type: ignore[misc]
        except _BROKEN as error:
            self._raise_if_stale(error)
            raise
        self.answered += 1
        sock.deadline = min(sock.deadline, time.monotonic() + self.timeouts.body_seconds)
        return response

    def _raise_if_stale(self, error: Exception) -> None:
        if self.answered:
            raise StaleConnection("closed while it was idle") from error


class PushSession(Session):
    """A session that takes nothing from the environment and keeps no cookie.

    It never follows a redirect. `allow_redirects=False` alone would still read a redirect's body to its end,
    however long, to offer the next request.
    """

    def __init__(self, *, resolve: Resolve, ca_file: Path | None, timeouts: Timeouts, connections: int) -> None:
        super().__init__()
        self.trust_env = False
        self.headers = CaseInsensitiveDict({"Accept-Encoding": "identity", "User-Agent": USER_AGENT})
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        adapter = _CheckedAdapter(resolve=resolve, tls=_tls(ca_file), timeouts=timeouts, connections=connections)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def get_redirect_target(self, resp: Response) -> None:  # noqa: ARG002
        return None


class _CheckedAdapter(HTTPAdapter):
    def __init__(self, *, resolve: Resolve, tls: ssl.SSLContext, timeouts: Timeouts, connections: int) -> None:
        self._tls = tls
        self._pools = _pool_classes(resolve, timeouts)
        super().__init__(pool_connections=_HOSTS_KEPT, pool_maxsize=connections)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        self.poolmanager = PoolManager(
            connections, maxsize=maxsize, block=block, ssl_context=self._tls, **pool_kwargs
        )
        self.poolmanager.pool_classes_by_scheme = self._pools

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the TLS context as it is: requests would add its own bundle to the operator's."""


def _pool_classes(resolve: Resolve, timeouts: Timeouts) -> dict[str, type[HTTPConnectionPool]]:
    # urllib3 gives a connection no argument of ours; so each session has classes of its own.
    own = {"resolve": staticmethod(resolve), "timeouts": timeouts}
    plain = type("CheckedConnection", (_Checked, HTTPConnection), own)
    tls = type("CheckedTlsConnection", (_Checked, HTTPSConnection), own)
    return {
        "http": type("CheckedPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("CheckedTlsPool", (HTTPSConnectionPool,), {"ConnectionCls": tls}),
    }


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    context = client_tls(ca_file)
    context.sslsocket_class = _TlsSocket
    return context


def _connected(address: CheckedAddress, *, left_seconds: float) -> socket.socket:
    sock = _PlainSocket(socket.AF_INET6 if ":" in address.ip else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.settimeout(left_seconds)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect((address.ip, address.port))
    except BaseException:
        sock.close()
        raise
    return sock
