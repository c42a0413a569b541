"""HTTP/1.1 as uvicorn speaks it, with bounds on what a client may send before anybody asks who it is.

httptools has none: an endless header holds up everybody else while it is copied, until the memory is used up, and
one that never comes keeps its connection for ever. nginx bounds both, but not everybody puts it in front.
"""

import asyncio
from functools import partial
from http import HTTPStatus
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.web.problems import problem_response
from app.web.secure_headers import SECURE_HEADERS

MAX_HEAD_BYTES = 64 * 1024
# What chunks of a byte each need around them, at most; trailers must fit into it, too.
MAX_FRAMING_PER_BODY_BYTE = 8
REQUEST_SECONDS = 30.0  # from the first byte of a request to its last; also until the first request
UNREAD_SECONDS = 5.0  # for a client that takes nothing of its answer while the server stops; else REQUEST_SECONDS

_log = structlog.stdlib.get_logger(__name__)


class BoundedHttp(HttpToolsProtocol):
    """One connection. Give it to uvicorn as `http`; it knows it by this name in a string, too."""

    request_seconds = REQUEST_SECONDS
    unread_seconds = UNREAD_SECONDS
    _unread_bytes = 0  # of the present request, without its body
    _body_bytes = 0
    _has_begun = False  # a request, and it has not come to its end
    _timer: asyncio.TimerHandle | None = None
    _next_look: asyncio.TimerHandle | None = None  # at what the client takes of its answer
    _answers = 0  # that came to their end
    _is_stopping = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.ws_protocol_class = None  # it would take the connection over, and know none of these bounds

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._wait_for_a_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self._next_look is not None:
            self._next_look.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """As the server stops: let what is being answered come to its end, as long as the client takes it."""
        super().shutdown()
        self._is_stopping = True
        if self._next_look is not None:
            self._next_look.cancel()
        self._drop_if_unread(since=0)

    def pause_writing(self) -> None:
        """More of the answer waits for the client than the buffers should hold."""
        super().pause_writing()
        if self._next_look is None:
            self._drop_if_unread(since=0)

    def data_received(self, data: bytes) -> None:
        self._unread_bytes += len(data)
        super().data_received(data)
        if self._unread_bytes > MAX_HEAD_BYTES + MAX_FRAMING_PER_BODY_BYTE * self._body_bytes:
            self._refuse(
                431,
                "request-head-too-large",
                f"The request line and headers have more than {MAX_HEAD_BYTES} bytes.",
            )
        elif self._timer is None and self.cycle is not None and self.cycle.response_complete:
            # Blank lines, or the end of a body that was answered before: uvicorn has just ceased to wait for more.
            self._wait_for_a_request()

    def on_message_begin(self) -> None:
        self._has_begun = True
        self._body_bytes = 0
        if self._timer is None:
            self._wait_for_a_request()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        # What of this piece belongs to the body is no longer told apart: it is small, and counted as read.
        self._unread_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        self._unread_bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._has_begun = False
        self._unread_bytes = 0
        self._stop_waiting()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._answers += 1
        if self._timer is not None:  # part of the next request is here; the rest was not read until now
            self._stop_waiting()
            self._wait_for_a_request()
        if self._next_look is None and self.transport.get_write_buffer_size():
            # Too little for pause_writing, but a connection is not closed before the client has taken all of it.
            self._next_look = self.loop.call_later(self.request_seconds, partial(self._drop_if_unread, since=0))

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "bad-request", msg)

    def _wait_for_a_request(self) -> None:
        self._timer = self.loop.call_later(self.request_seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self.flow.read_paused:  # then it is we who do not read: the request before is still being answered
            self._wait_for_a_request()
        elif self._has_begun:
            self._refuse(408, "request-timeout", f"The request did not arrive within {self.request_seconds:g} s.")
        else:
            self.transport.close()

    def _drop_if_unread(self, *, since: int, answers: int = 0) -> None:
        """Close the connection if, of so many bytes that waited for the client before, none was taken.

        What waits now is the same unless more answers than those before have come to their end meanwhile.
        """
        unread = self.transport.get_write_buffer_size()
        if unread >= since > 0 and answers == self._answers:
            self.transport.abort()
        elif unread or self._is_stopping:
            seconds = self.unread_seconds if self._is_stopping else self.request_seconds
            self._next_look = self.loop.call_later(
                seconds, partial(self._drop_if_unread, since=unread, answers=self._answers)
            )
        else:
            self._next_look = None

    def _unsupported_upgrade_warning(self) -> None:
        """Answer as if nobody had asked for another protocol. What follows was not read as HTTP, so this is all."""
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def _refuse(self, status: int, code: str, detail: str) -> None:
        """Answer unless an answer is under way, and close the connection."""
        if self.transport.is_closing():
            return
        _log.info("request refused", status=status, code=code)
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(_answer(status, code, detail))
        self.transport.close()


def _answer(status: int, code: str, detail: str) -> bytes:
    phrase = HTTPStatus(status).phrase
    headers = {**SECURE_HEADERS, "Connection": "close"}
    response = problem_response(status, code=code, title=phrase, detail=detail, headers=headers)
    head = [f"HTTP/1.1 {status} {phrase}".encode(), *(b": ".join(header) for header in response.raw_headers)]
    return b"\r\n".join([*head, b"", bytes(response.body)])
