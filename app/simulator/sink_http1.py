"""One HTTP/1.1 connection to a sink: it reads how long a post is, and no more, to keep up with any sender."""

import asyncio
import re
from functools import lru_cache

from app.simulator.endings import end_badly
from app.simulator.exchange import PIECES, Answer, Ending, Reaction, Sink
from app.simulator.http1 import Http1Wire, reason_of
from app.simulator.sink_heads import http1_head

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_BEYOND_THE_SINK = re.compile(
    rb"^[A-Z]+ /_control/|^[A-Z]+ [^ ]+ HTTP/1\.0|\r\ntransfer-encoding:|\r\nexpect:|\r\nconnection: *close",
    re.IGNORECASE,
)


class Http1Sink:
    """Counts posts; hands the connection over to the real wire as soon as more has to be understood."""

    def __init__(self, transport: asyncio.Transport, sink: Sink, peer: str) -> None:
        self._transport = transport
        self._sink = sink
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._unread = b""
        self._waiting = False
        self._requests = 0
        self._real: Http1Wire | None = None

    def receive(self, chunk: bytes) -> None:
        if self._real is not None:
            self._real.receive(chunk)
            return
        self._unread += chunk
        while not self._waiting and self._read_one():
            pass

    def lost(self) -> None:
        self._transport.abort()

    def pause_writing(self) -> None:
        if self._real is not None:
            self._real.pause_writing()

    def resume_writing(self) -> None:
        if self._real is not None:
            self._real.resume_writing()

    def _read_one(self) -> bool:
        end_of_head = self._unread.find(b"\r\n\r\n")
        if end_of_head < 0:
            return False
        head = self._unread[: end_of_head + 2]
        if _BEYOND_THE_SINK.search(head):
            self._hand_over()
            return False
        length = _CONTENT_LENGTH.search(head)
        body_bytes = int(length[1]) if length else 0
        end = end_of_head + 4 + body_bytes
        if len(self._unread) < end:
            return False
        self._unread = self._unread[end:]
        self._requests += 1
        counted = http1_head(head) if self._sink.counts_endpoints else None
        self._carry_out(self._sink.swallow("1.1", body_bytes, counted))
        return True

    def _hand_over(self) -> None:
        self._real = Http1Wire(self._transport, self._sink, self._peer)
        self._real.receive(self._unread)
        self._unread = b""

    def _carry_out(self, reaction: Reaction) -> None:
        if reaction.ending is Ending.HANG:
            self._waiting = True
        elif reaction.delay_seconds > 0:
            self._waiting = True
            self._loop.call_later(reaction.delay_seconds, self._carry_out_late, reaction)
        elif reaction.ending is Ending.ANSWER:
            limit = self._sink.requests_per_connection()
            closes = limit is not None and self._requests >= limit
            self._transport.write(_serialized(reaction.answer, closes))
            if closes:
                self._waiting = True
                self._transport.close()
        elif reaction.ending in PIECES:
            self._waiting = True
            self._transport.write(_head(reaction.answer, b"connection: close") + b"\r\n\r\n")
            self._send_endlessly(*PIECES[reaction.ending])
        else:
            self._waiting = True
            end_badly(self._transport, reaction.ending)

    def _send_endlessly(self, piece: bytes, pause_seconds: float) -> None:
        if not self._transport.is_closing():
            self._transport.write(piece)
            self._loop.call_later(pause_seconds, self._send_endlessly, piece, pause_seconds)

    def _carry_out_late(self, reaction: Reaction) -> None:
        self._waiting = False
        if not self._transport.is_closing():
            self._carry_out(Reaction(reaction.answer, reaction.ending))
            self.receive(b"")


@lru_cache(maxsize=256)
def _serialized(answer: Answer, closes: bool) -> bytes:
    length = b"content-length: %d" % len(answer.body)
    return _head(answer, length, *([b"connection: close"] if closes else [])) + b"\r\n\r\n" + answer.body


def _head(answer: Answer, *more: bytes) -> bytes:
    lines = [b"HTTP/1.1 %d %s" % (answer.status, reason_of(answer.status))]
    lines += [f"{name}: {value}".encode("latin-1") for name, value in answer.headers]
    return b"\r\n".join([*lines, *more])
