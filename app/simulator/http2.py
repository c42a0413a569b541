"""One HTTP/2 connection on h2: streams in, reactions out, side by side."""

import asyncio
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from app.simulator.endings import end_badly
from app.simulator.exchange import KEPT_BODY_BYTES, PIECES, Ending, Handler, Reaction, Request

_WINDOW_BYTES = 8 * 1024 * 1024
_NO_LIMIT = 2**31 - 1
_CONFIG = H2Configuration(
    client_side=False,
    header_encoding=None,
    validate_inbound_headers=True,  # a header in upper case is a sender's mistake that we are here to find
    validate_outbound_headers=False,  # ours are right, but for those a test scripts
    normalize_outbound_headers=False,
)


def _settings(max_concurrent_streams: int) -> Settings:
    values = {
        SettingCodes.MAX_CONCURRENT_STREAMS: max_concurrent_streams,
        SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW_BYTES,
    }
    return Settings(client=False, initial_values=values)


@dataclass(slots=True)
class _Stream:
    """A request on its way in, then an answer's body on its way out."""

    request: Request
    body: bytearray = field(default_factory=bytearray)
    decided: bool = False
    unsent: bytes = b""
    endless: tuple[bytes, float] | None = None  # the next piece, and the pause before it


class Http2Wire:
    """Feeds h2 with what arrives and does to the streams what the handler decides."""

    def __init__(
        self, transport: asyncio.Transport, handler: Handler, peer: str, *, max_concurrent_streams: int
    ) -> None:
        self._transport = transport
        self._handler = handler
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._streams: dict[int, _Stream] = {}
        self._requests = 0
        self._last_accepted: int | None = None  # set when the connection was told to go away
        self._unacknowledged = 0
        self._writable = True
        self._cut = False
        self._max_concurrent_streams = max_concurrent_streams
        self._connection = H2Connection(_CONFIG)
        self._connection.local_settings = _settings(max_concurrent_streams)
        self._connection.initiate_connection()
        # h2 would end the connection over a stream too many. As servers do, we refuse the stream instead: the
        # client may not have read our settings yet.
        self._connection.local_settings = _settings(_NO_LIMIT)
        self._connection.increment_flow_control_window(_WINDOW_BYTES - 65_535)
        self._flush()

    def receive(self, chunk: bytes) -> None:
        try:
            for event in self._connection.receive_data(chunk):
                if self._cut:
                    return  # what the client sent on was never read
                self._take(event)
        except ProtocolError:
            self._flush()
            self._transport.close()
            return
        self._flush()

    def lost(self) -> None:
        self._streams.clear()
        self._transport.abort()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._send_all_unsent()

    def _take(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._begin(event)
        elif isinstance(event, DataReceived):
            self._keep(event)
        elif isinstance(event, StreamEnded):
            self._complete(event.stream_id)
        elif isinstance(event, StreamReset):
            self._end(event.stream_id)
        elif isinstance(event, WindowUpdated):
            self._send_all_unsent()
        elif isinstance(event, ConnectionTerminated):
            self._transport.close()

    def _begin(self, event: RequestReceived) -> None:
        if self._last_accepted is not None:
            return  # sent before our GOAWAY was read: never looked at, so the client may send it again
        if len(self._streams) >= self._max_concurrent_streams:
            self._connection.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers or ()}
        stream = _Stream(
            Request(
                method=headers.get(":method", ""),
                path=headers.get(":path", ""),
                headers=headers,
                body=b"",
                http_version="2",
                peer=self._peer,
            )
        )
        self._streams[event.stream_id] = stream
        self._requests += 1
        limit = self._handler.requests_per_connection()
        if limit is not None and self._requests >= limit:
            self._go_away(event.stream_id)
        reaction = self._handler.foresee(stream.request)
        if reaction is not None:
            self._decide(event.stream_id, stream, reaction)

    def _keep(self, event: DataReceived) -> None:
        self._unacknowledged += event.flow_controlled_length
        if self._unacknowledged > _WINDOW_BYTES // 2:
            self._connection.increment_flow_control_window(self._unacknowledged)
            self._unacknowledged = 0
        stream = self._streams.get(event.stream_id)
        if stream is not None and not stream.decided:
            stream.body += event.data[: KEPT_BODY_BYTES - len(stream.body)]
            if len(stream.body) == KEPT_BODY_BYTES:
                # Answered at once: a client whose window is used up would wait for us, and we for it.
                self._complete(event.stream_id)

    def _complete(self, stream_id: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is None or stream.decided:
            return
        head = stream.request
        request = Request(head.method, head.path, head.headers, bytes(stream.body), "2", self._peer)
        self._decide(stream_id, stream, self._handler.handle(request))

    def _decide(self, stream_id: int, stream: _Stream, reaction: Reaction) -> None:
        stream.decided = True
        if reaction.delay_seconds > 0:
            self._loop.call_later(reaction.delay_seconds, self._carry_out_late, stream_id, reaction)
        else:
            self._carry_out(stream_id, stream, reaction)

    def _carry_out_late(self, stream_id: int, reaction: Reaction) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None and not self._transport.is_closing():
            self._carry_out(stream_id, stream, reaction)
            self._flush()

    def _carry_out(self, stream_id: int, stream: _Stream, reaction: Reaction) -> None:
        if reaction.ending is Ending.HANG:
            return
        if reaction.ending is not Ending.ANSWER and reaction.ending not in PIECES:
            self._cut = True
            end_badly(self._transport, reaction.ending)
        else:
            answer = reaction.answer
            headers = [(":status", str(answer.status)), *answer.headers]
            stream.endless = PIECES.get(reaction.ending)
            if stream.endless is None:
                headers.append(("content-length", str(len(answer.body))))
            only_head = stream.endless is None and not answer.body
            self._connection.send_headers(stream_id, headers, end_stream=only_head)
            if only_head:
                self._end(stream_id)
            else:
                stream.unsent = stream.endless[0] if stream.endless else answer.body
                self._send_unsent(stream_id, stream)

    def _send_unsent(self, stream_id: int, stream: _Stream) -> None:
        """Send as much of a body as the client's windows and our write buffer allow."""
        while stream.unsent and self._writable:
            window = self._connection.local_flow_control_window(stream_id)
            size = min(window, len(stream.unsent), self._connection.max_outbound_frame_size)
            if size == 0:
                return
            part, stream.unsent = stream.unsent[:size], stream.unsent[size:]
            ends = not stream.unsent and stream.endless is None
            self._connection.send_data(stream_id, part, end_stream=ends)
            if ends:
                self._end(stream_id)
            elif not stream.unsent:
                self._refill_later(stream_id, stream)

    def _refill_later(self, stream_id: int, stream: _Stream) -> None:
        assert stream.endless is not None
        piece, pause_seconds = stream.endless
        self._loop.call_later(pause_seconds, self._refill, stream_id, piece)

    def _refill(self, stream_id: int, piece: bytes) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None and not self._transport.is_closing():
            stream.unsent = piece
            self._send_unsent(stream_id, stream)
            self._flush()

    def _send_all_unsent(self) -> None:
        for stream_id, stream in list(self._streams.items()):
            if stream.unsent:
                self._send_unsent(stream_id, stream)
        self._flush()

    def _end(self, stream_id: int) -> None:
        self._streams.pop(stream_id, None)
        if self._last_accepted is not None and not self._streams:
            self._flush()
            self._transport.close()

    def _go_away(self, last_accepted: int) -> None:
        """Accept no stream after this one, and answer the open ones.

        h2 counts a connection as closed once it has sent GOAWAY, so the frame is written past it.
        """
        self._last_accepted = last_accepted
        self._flush()
        frame = GoAwayFrame(last_stream_id=last_accepted, error_code=ErrorCodes.NO_ERROR)
        self._transport.write(frame.serialize())

    def _flush(self) -> None:
        outgoing = self._connection.data_to_send()
        if outgoing and not self._transport.is_closing():
            self._transport.write(outgoing)
