"""A push service that is far away: what it writes arrives later, and costs it no more than what it writes at once.

One timer for each write, and a sink answers with one write all that came together.
"""

import asyncio
from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

from app import simulator
from app.simulator import listener
from app.simulator.sink_http2 import Http2Sink


class DistantTransport(asyncio.Transport):
    """Hands bytes on after so many seconds, in their order."""

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        super().__init__()
        self._transport = transport
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()

    def write(self, data: Any) -> None:
        self._loop.call_later(self._seconds, self._write_unless_closed, data)

    def close(self) -> None:
        self._loop.call_later(self._seconds, self._transport.close)

    def abort(self) -> None:
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _write_unless_closed(self, data: Any) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


def serve(host: str, port: int, *, seconds_away: float, **options: Any) -> None:
    """Run a sink in this process, as `simulator.serve` does, so far away from whoever speaks HTTP/2 to it."""

    def wire(transport: asyncio.Transport, *arguments: Any, **options: Any) -> Http2Sink:
        return Http2Sink(DistantTransport(transport, seconds_away), *arguments, **options)

    with patch.object(listener, "Http2Sink", wire) if seconds_away else nullcontext():
        simulator.serve(host, port, **options)
