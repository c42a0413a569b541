"""Listening sockets on several loopback addresses, and the connections they accept."""

import asyncio
import errno
import socket
import ssl
from typing import Protocol, cast

from app.simulator.exchange import Sink
from app.simulator.http1 import Http1Wire
from app.simulator.http2 import Http2Wire
from app.simulator.sink_http1 import Http1Sink
from app.simulator.sink_http2 import Http2Sink

_PORT_ATTEMPTS = 20
_BACKLOG = 1024


class _Wire(Protocol):
    def receive(self, chunk: bytes) -> None: ...

    def lost(self) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class _Connection(asyncio.Protocol):
    """Chooses the wire by what was agreed through ALPN."""

    def __init__(self, listener: "Listener") -> None:
        self._listener = listener
        listener.handler.arrived()
        self._wire: _Wire | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        self._listener.open_connections.add(self)
        peer = str(transport.get_extra_info("peername")[0])
        tls = transport.get_extra_info("ssl_object")
        is_http2 = tls is not None and tls.selected_alpn_protocol() == "h2"
        self._listener.handler.connected("2" if is_http2 else "1.1")
        self._wire = self._listener.wire(transport, peer, is_http2=is_http2)

    def data_received(self, data: bytes) -> None:
        if self._wire is not None:
            self._wire.receive(data)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio calls it so)
        self._listener.open_connections.discard(self)
        if self._wire is not None:
            self._wire.lost()

    def cut(self) -> None:
        if isinstance(self._wire, Http2Sink):
            self._wire.cut_off()
        if self._transport is not None:
            self._transport.abort()

    def pause_writing(self) -> None:
        if self._wire is not None:
            self._wire.pause_writing()

    def resume_writing(self) -> None:
        if self._wire is not None:
            self._wire.resume_writing()


class Listener:
    """One port on every given host. Used on its event loop's thread only, but for `port`."""

    def __init__(
        self, handler: Sink, hosts: tuple[str, ...], *, max_concurrent_streams: int, is_sink: bool
    ) -> None:
        self.handler = handler
        self.open_connections: set[_Connection] = set()
        self.port = 0
        self._addresses = tuple(dict.fromkeys("127.0.0.1" if host == "localhost" else host for host in hosts))
        self._max_concurrent_streams = max_concurrent_streams
        self._is_sink = is_sink
        self._servers: list[asyncio.Server] = []

    @property
    def is_listening(self) -> bool:
        return bool(self._servers)

    def wire(self, transport: asyncio.Transport, peer: str, *, is_http2: bool) -> _Wire:
        streams = self._max_concurrent_streams
        if is_http2 and self._is_sink:
            return Http2Sink(transport, self.handler, max_concurrent_streams=streams)
        if is_http2:
            return Http2Wire(transport, self.handler, peer, max_concurrent_streams=streams)
        return (Http1Sink if self._is_sink else Http1Wire)(transport, self.handler, peer)

    async def listen(self, port: int, context: ssl.SSLContext | None) -> None:
        """Start to listen; port 0 takes any port that is free on every address."""
        loop = asyncio.get_running_loop()
        sockets = _bind_all(self._addresses, port)
        self.port = sockets[0].getsockname()[1]
        for bound in sockets:
            self._servers.append(
                await loop.create_server(lambda: _Connection(self), sock=bound, ssl=context, backlog=_BACKLOG)
            )

    async def present(self, context: ssl.SSLContext | None) -> None:
        """Listen on the same port with another certificate, and drop whoever saw the old one."""
        self.close()
        await self.listen(self.port, context)

    def close(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        self.drop_connections()

    def drop_connections(self) -> None:
        for connection in list(self.open_connections):
            connection.cut()


def _bind_all(addresses: tuple[str, ...], port: int) -> list[socket.socket]:
    """Bind the same port on all addresses; raises OSError when it is taken, or none is free on all."""
    for _attempt in range(_PORT_ATTEMPTS):
        sockets: list[socket.socket] = []
        try:
            for address in addresses:
                wanted = port or (sockets[0].getsockname()[1] if sockets else 0)
                sockets.append(_bind(address, wanted))
        except OSError as error:
            for bound in sockets:
                bound.close()
            if port or error.errno != errno.EADDRINUSE:
                raise
        else:
            return sockets
    raise OSError(errno.EADDRINUSE, "found no port that is free on all the addresses")


def _bind(address: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address, port))
    except OSError:
        bound.close()
        raise
    return bound
