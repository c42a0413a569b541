"""One reusable libcurl handle: what is said to every push service in the same way, and what one answered."""

import socket
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.push.address import ADDRESS_LIFE_SECONDS
from app.push.curl_addresses import Known
from app.push.curl_connections import HostConnections
from app.push.curl_library import pycurl
from app.push.curl_request import CurlRequest
from app.push.request import USER_AGENT
from app.push.sender import Timeouts

MAX_ANSWER_BYTES = 16_384
# libcurl itself takes 300 KB of them; a push service that sends so many has its last ones looked at.
_MAX_HEADER_LINES = 128
_UNACKNOWLEDGED_MILLISECONDS = 30_000
_END_OF_HEAD = b"\r\n"
_HTTP_2_OVER_TLS = 4  # HTTP/1.1 where a service offers no other; pycurl has no name for it in every version
# What answer.py and outcome.py look at.
_WANTED_HEADERS = {
    name.encode(): name
    for name in ("retry-after", "location", "apns-id", "x-wns-msg-id", "x-wns-status", "x-wns-error-description")
}


@dataclass(frozen=True, slots=True)
class Wire:
    """What all transfers of a sender have in common. `may_connect` is asked about each address and port."""

    ca_file: Path
    timeouts: Timeouts
    may_connect: Callable[[str, int], bool]


class Transfer:
    """A handle, the request it carries, and as much of the answer as has come. Used by one thread."""

    def __init__(self, wire: Wire) -> None:
        self.request: CurlRequest | None = None
        self.began_at = 0.0
        self.head_seen_at: float | None = None
        self.curl = pycurl.Curl()
        self.curl.transfer = self
        self._may_connect = wire.may_connect
        self._lines: deque[bytes] = deque(maxlen=_MAX_HEADER_LINES)
        self._answer = bytearray()
        self._known: Known | None = None
        self._told: HostConnections | None = None
        self._headers: list[str] | None = None
        self._body_size = -1
        self._set_up(wire)

    def load(self, request: CurlRequest, known: Known, connections: HostConnections, *, now: float) -> None:
        """Make ready to post over these connections; `known` are the addresses of the request's host."""
        setopt = self.curl.setopt
        self.request = request
        self.began_at = now
        self.head_seen_at = None
        self._lines.clear()
        if self._answer:
            self._answer.clear()
        setopt(pycurl.URL, request.target.endpoint)
        # libcurl keeps them with the connections, and a handle tells them only once.
        if known is not self._known or connections is not self._told:
            setopt(pycurl.RESOLVE, known.for_libcurl)
            self._known, self._told = known, connections
        if request.headers is not self._headers:
            setopt(pycurl.HTTPHEADER, request.headers)
            self._headers = request.headers
        if len(request.body) != self._body_size:
            self._body_size = len(request.body)
            setopt(pycurl.POSTFIELDSIZE, self._body_size)

    @property
    def status_code(self) -> int:
        return int(self.curl.getinfo(pycurl.RESPONSE_CODE))

    @property
    def has_begun_to_answer(self) -> bool:
        return bool(self._lines)

    @property
    def has_answered(self) -> bool:
        """Whether the whole head of the answer is here: then the status counts, whatever becomes of the body."""
        return _END_OF_HEAD in self._lines and self.status_code >= 200

    @property
    def sent_at(self) -> float | None:
        """When the request left, by time.monotonic(); None while there is no connection for it."""
        seconds = float(self.curl.getinfo(pycurl.PRETRANSFER_TIME))
        return self.began_at + seconds if seconds > 0 else None

    @property
    def connection(self) -> int:
        """The number of the connection it is, or was, on; negative when there was none."""
        return int(self.curl.getinfo(pycurl.CONN_ID))

    @property
    def is_http2(self) -> bool:
        return int(self.curl.getinfo(pycurl.INFO_HTTP_VERSION)) == int(pycurl.CURL_HTTP_VERSION_2_0)

    @property
    def answer_headers(self) -> Mapping[str, str]:
        """The headers that somebody looks at, their names in lower case."""
        headers = {}
        for line in self._lines:
            name, _, value = line.partition(b":")
            wanted = _WANTED_HEADERS.get(name.lower())
            if wanted is not None:
                headers[wanted] = value.decode("latin-1").strip()
        return headers

    @property
    def answer_body(self) -> bytes:
        return bytes(self._answer)

    def close(self) -> None:
        # The handle and this object hold each other.
        self.curl.transfer = None
        self.curl.close()

    def _set_up(self, wire: Wire) -> None:
        setopt, timeouts = self.curl.setopt, wire.timeouts
        setopt(pycurl.NOSIGNAL, 1)
        setopt(pycurl.POST, 1)
        setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        setopt(pycurl.HTTP_VERSION, _HTTP_2_OVER_TLS)
        setopt(pycurl.PIPEWAIT, 1)
        setopt(pycurl.PATH_AS_IS, 1)
        setopt(pycurl.FOLLOWLOCATION, 0)
        setopt(pycurl.USERAGENT, USER_AGENT)
        # Nothing of the environment: no proxy, whatever its variables say, and no .netrc.
        setopt(pycurl.PROXY, "")
        setopt(pycurl.NOPROXY, "*")
        setopt(pycurl.NETRC, pycurl.NETRC_IGNORED)
        setopt(pycurl.CAINFO, str(wire.ca_file))
        self.curl.unsetopt(pycurl.CAPATH)
        setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2)  # that or later
        # libcurl's one limit is for TCP and TLS together.
        setopt(pycurl.CONNECTTIMEOUT_MS, round(2000 * timeouts.connect_seconds))
        longest_seconds = 2 * timeouts.connect_seconds + timeouts.answer_seconds + timeouts.body_seconds
        setopt(pycurl.TIMEOUT_MS, round(1000 * longest_seconds))
        setopt(pycurl.MAXLIFETIME_CONN, round(ADDRESS_LIFE_SECONDS))
        # Longer than ours: we always tell libcurl the addresses again before it forgets them.
        setopt(pycurl.DNS_CACHE_TIMEOUT, round(2 * ADDRESS_LIFE_SECONDS))
        setopt(pycurl.OPENSOCKETFUNCTION, self._open_socket)
        setopt(pycurl.READFUNCTION, self._read)
        setopt(pycurl.SEEKFUNCTION, self._refuse_to_repeat)
        setopt(pycurl.HEADERFUNCTION, self._lines.append)
        setopt(pycurl.WRITEFUNCTION, self._take)

    def _open_socket(self, _purpose: int, address: Any) -> Any:
        family, kind, protocol, (ip, port, *_) = address
        if not self._may_connect(ip, port):
            return pycurl.SOCKET_BAD
        try:
            opened = socket.socket(family, kind, protocol)
        except OSError:  # no more files may be opened
            return pycurl.SOCKET_BAD
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: a peer that is gone without a word is noticed
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MILLISECONDS)
        return opened

    def _read(self, _size: int) -> bytes:
        # libcurl asks for 64 KB at once and stops at POSTFIELDSIZE.
        assert self.request is not None
        return self.request.body

    def _refuse_to_repeat(self, _offset: int, _origin: int) -> int:
        # libcurl would send again by itself whatever was lost on a kept connection, even what has been taken by
        # the push service. Without this, it cannot; curl_failure.py decides.
        return int(pycurl.SEEKFUNC_FAIL)

    def _take(self, chunk: bytes) -> int | None:
        self._answer += chunk[: MAX_ANSWER_BYTES - len(self._answer)]
        return 0 if len(self._answer) >= MAX_ANSWER_BYTES else None
