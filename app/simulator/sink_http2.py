"""One HTTP/2 connection to a sink: it counts frames and lengths, and decodes no header it need not, to keep up.

h2 takes hundreds of microseconds for a post; a sender that is to be measured needs a tenth of that.
"""

import asyncio
import struct
from collections import deque
from functools import lru_cache

from hyperframe.frame import GoAwayFrame, PingFrame, SettingsFrame, WindowUpdateFrame

from app.simulator.arrivals import Head
from app.simulator.endings import end_badly
from app.simulator.exchange import PIECES, Answer, Ending, Reaction, Sink
from app.simulator.sink_heads import Http2Heads

_PREFACE_BYTES = 24
_FRAME_HEADER = struct.Struct(">BHBBL")  # length (high byte, low bytes), type, flags, stream
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _CONTINUATION = 0, 1, 3, 4, 6, 7, 9
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_WINDOW_BYTES = 8 * 1024 * 1024
_MAX_FRAME_BYTES = 16_384
_CLIENTS_WINDOW_BYTES = 65_535  # of a stream, at least (RFC 9113 section 6.9.2)


class Http2Sink:
    """Counts posts: whatever comes on a stream is taken for one."""

    def __init__(self, transport: asyncio.Transport, sink: Sink, *, max_concurrent_streams: int) -> None:
        self._transport = transport
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._unread = b""
        self._preface_missing = _PREFACE_BYTES
        self._unacknowledged = 0
        self._requests = 0
        self._going_away = False
        self._cut = False
        self._body_bytes: dict[int, int] = {}  # of the open streams
        self._heads = Http2Heads() if sink.counts_endpoints else None
        self._head_of: dict[int, Head | None] = {}  # likewise
        # A client has no more streams open than it may, and is answered in order: those it may not have heard of.
        self._accepted: deque[Head] = deque(maxlen=max_concurrent_streams)
        settings = SettingsFrame(
            settings={
                SettingsFrame.MAX_CONCURRENT_STREAMS: max_concurrent_streams,
                SettingsFrame.INITIAL_WINDOW_SIZE: _WINDOW_BYTES,
            }
        )
        window = WindowUpdateFrame(0, window_increment=_WINDOW_BYTES)
        self._outgoing = [settings.serialize(), window.serialize()]
        self._flush()

    def receive(self, chunk: bytes) -> None:
        unread = self._unread + chunk if self._unread else chunk
        at = min(self._preface_missing, len(unread))
        self._preface_missing -= at
        while len(unread) - at >= _FRAME_HEADER.size and not self._cut:
            high, low, kind, flags, stream_id = _FRAME_HEADER.unpack_from(unread, at)
            end = at + _FRAME_HEADER.size + (high << 16 | low)
            if end > len(unread):
                break
            self._take(kind, flags, stream_id, unread[at + _FRAME_HEADER.size : end])
            at = end
        self._unread = unread[at:]
        self._flush()

    def cut_off(self) -> None:
        """Begin and answer nothing more: the connection is about to be cut by us."""
        self._cut = True
        self._sink.cut_off(self._accepted)
        self._accepted.clear()

    def lost(self) -> None:
        self._body_bytes.clear()
        self._head_of.clear()
        self._transport.abort()

    def pause_writing(self) -> None:
        pass

    def resume_writing(self) -> None:
        pass

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self._heads is not None and kind in (_HEADERS, _CONTINUATION):
            read = self._heads.begin if kind == _HEADERS else self._heads.go_on
            self._head_of[stream_id] = read(flags, payload)
        if kind == _HEADERS and not self._going_away:
            self._body_bytes[stream_id] = 0
            self._requests += 1
            self._go_away_when_due(stream_id)
        elif kind == _DATA:
            self._count_data(stream_id, len(payload))
        elif kind == _RST_STREAM:
            self._body_bytes.pop(stream_id, None)
        elif kind == _SETTINGS and not flags & _ACK:
            self._outgoing.append(SettingsFrame(flags=["ACK"]).serialize())
        elif kind == _PING and not flags & _ACK:
            self._outgoing.append(PingFrame(opaque_data=payload, flags=["ACK"]).serialize())
        elif kind == _GOAWAY:
            self._transport.close()
        if kind in (_HEADERS, _DATA) and flags & _END_STREAM and stream_id in self._body_bytes:
            head = self._head_of.pop(stream_id, None)
            reaction = self._sink.swallow("2", self._body_bytes[stream_id], head)
            if head is not None and reaction.says_yes:
                self._accepted.append(head)
            self._carry_out(stream_id, reaction)

    def _count_data(self, stream_id: int, size: int) -> None:
        if stream_id in self._body_bytes:
            self._body_bytes[stream_id] += size
        self._unacknowledged += size
        if self._unacknowledged > _WINDOW_BYTES // 2:
            update = WindowUpdateFrame(0, window_increment=self._unacknowledged)
            self._outgoing.append(update.serialize())
            self._unacknowledged = 0

    def _go_away_when_due(self, stream_id: int) -> None:
        limit = self._sink.requests_per_connection()
        if limit is not None and self._requests >= limit:
            self._going_away = True
            self._outgoing.append(GoAwayFrame(last_stream_id=stream_id).serialize())

    def _carry_out(self, stream_id: int, reaction: Reaction) -> None:
        if reaction.ending is Ending.HANG:
            return
        if reaction.delay_seconds > 0:
            self._loop.call_later(reaction.delay_seconds, self._carry_out_late, stream_id, reaction)
        elif reaction.ending is Ending.ANSWER:
            self._outgoing.append(_serialized_head(reaction.answer, stream_id))
            if reaction.answer.body:
                self._outgoing.append(_frame(_DATA, _END_STREAM, stream_id, reaction.answer.body))
            del self._body_bytes[stream_id]
        elif reaction.ending in PIECES:
            self._outgoing.append(_serialized_head(reaction.answer, stream_id, is_endless=True))
            self._send_endlessly(stream_id, *PIECES[reaction.ending])
        else:
            self.cut_off()
            end_badly(self._transport, reaction.ending)

    def _send_endlessly(self, stream_id: int, piece: bytes, pause_seconds: float, sent_bytes: int = 0) -> None:
        """Send a piece now and then, until the client resets the stream or its window is used up."""
        sent_bytes += len(piece)
        if stream_id in self._body_bytes and not self._cut and sent_bytes <= _CLIENTS_WINDOW_BYTES:
            self._outgoing.append(_frame(_DATA, 0, stream_id, piece))
            self._flush()
            self._loop.call_later(pause_seconds, self._send_endlessly, stream_id, piece, pause_seconds, sent_bytes)

    def _carry_out_late(self, stream_id: int, reaction: Reaction) -> None:
        if stream_id in self._body_bytes:
            self._carry_out(stream_id, Reaction(reaction.answer, reaction.ending))
            self._flush()

    def _flush(self) -> None:
        if self._outgoing and not self._transport.is_closing():
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()
        if self._going_away and not self._body_bytes:
            self._transport.close()


def _frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """Return a frame; what does not fit into one is cut off, for no answer of a sink is so long."""
    payload = payload[:_MAX_FRAME_BYTES]
    return _FRAME_HEADER.pack(0, len(payload), kind, flags, stream_id) + payload


def _serialized_head(answer: Answer, stream_id: int, *, is_endless: bool = False) -> bytes:
    flags = _END_HEADERS if answer.body or is_endless else _END_HEADERS | _END_STREAM
    return _frame(_HEADERS, flags, stream_id, _header_block(answer, is_endless))


@lru_cache(maxsize=256)
def _header_block(answer: Answer, is_endless: bool) -> bytes:
    """Return the headers as HPACK literals without indexing (RFC 7541, 6.2.2): no table has to be kept."""
    headers = [(":status", str(answer.status)), *answer.headers]
    if not is_endless:
        headers.append(("content-length", str(len(answer.body))))
    return b"".join(b"\x00" + _literal(name) + _literal(value) for name, value in headers)


def _literal(text: str) -> bytes:
    raw = text.encode("latin-1")
    length, prefix = len(raw), 127
    if length < prefix:
        return bytes([length]) + raw
    encoded, length = bytearray([prefix]), length - prefix
    while length >= 128:
        encoded.append(length % 128 + 128)
        length //= 128
    encoded.append(length)
    return bytes(encoded) + raw
