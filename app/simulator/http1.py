"""One HTTP/1.1 connection on h11: requests in, reactions out, one after the other."""

import asyncio
from http import HTTPStatus

import h11

from app.simulator.endings import end_badly
from app.simulator.exchange import KEPT_BODY_BYTES, PIECES, Answer, Ending, Handler, Reaction, Request


def reason_of(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""


class Http1Wire:
    """Feeds h11 with what arrives and does to the connection what the handler decides."""

    def __init__(self, transport: asyncio.Transport, handler: Handler, peer: str) -> None:
        self._transport = transport
        self._handler = handler
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._connection = h11.Connection(h11.SERVER)
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._decided = False  # the current request has its reaction: no more reading until it is carried out
        self._requests = 0
        self._writable = True

    def receive(self, chunk: bytes) -> None:
        self._connection.receive_data(chunk)
        self._read()

    def lost(self) -> None:
        self._transport.abort()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True

    def _read(self) -> None:
        try:
            self._read_events()
        except h11.RemoteProtocolError:
            self._transport.close()

    def _read_events(self) -> None:
        while not self._decided:
            event = self._connection.next_event()
            if isinstance(event, h11.Request):
                self._begin(event)
            elif isinstance(event, h11.Data):
                self._body += event.data[: KEPT_BODY_BYTES - len(self._body)]
            elif isinstance(event, h11.EndOfMessage):
                self._decide(self._handler.handle(self._request()))
            elif event is h11.NEED_DATA:
                if self._connection.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    self._transport.write(self._connection.send(go_on) or b"")
                return
            else:
                if isinstance(event, h11.ConnectionClosed):
                    self._transport.close()
                return

    def _begin(self, head: h11.Request) -> None:
        self._requests += 1
        self._head = head
        self._body.clear()
        reaction = self._handler.foresee(self._request())
        if reaction is not None:
            self._decide(reaction)

    def _request(self) -> Request:
        head = self._head
        assert head is not None
        return Request(
            method=head.method.decode(),
            path=head.target.decode(),
            headers={name.decode(): value.decode("latin-1") for name, value in head.headers},
            body=bytes(self._body),
            http_version="1.1",
            peer=self._peer,
        )

    def _decide(self, reaction: Reaction) -> None:
        self._decided = True
        if reaction.delay_seconds > 0:
            self._loop.call_later(reaction.delay_seconds, self._carry_out, reaction)
        else:
            self._carry_out(reaction)

    def _carry_out(self, reaction: Reaction) -> None:
        if self._transport.is_closing() or reaction.ending is Ending.HANG:
            return
        if reaction.ending in PIECES:
            self._send_head(reaction.answer, length=None)
            self._send_endlessly(*PIECES[reaction.ending])
        elif reaction.ending is Ending.ANSWER:
            self._answer(reaction.answer)
        else:
            end_badly(self._transport, reaction.ending)

    def _answer(self, answer: Answer) -> None:
        self._send_head(answer, length=len(answer.body))
        if answer.body:
            self._transport.write(self._connection.send(h11.Data(data=answer.body)) or b"")
        self._transport.write(self._connection.send(h11.EndOfMessage()) or b"")
        if self._connection.our_state is h11.MUST_CLOSE or self._connection.their_state is not h11.DONE:
            self._transport.close()
            return
        self._connection.start_next_cycle()
        self._decided = False
        self._loop.call_soon(self._read)  # a pipelined request may be waiting in h11

    def _send_head(self, answer: Answer, *, length: int | None) -> None:
        headers = list(answer.headers)
        if length is not None:
            headers.append(("content-length", str(length)))
        limit = self._handler.requests_per_connection()
        if limit is not None and self._requests >= limit:
            headers.append(("connection", "close"))
        head = h11.Response(status_code=answer.status, headers=headers, reason=reason_of(answer.status))
        self._transport.write(self._connection.send(head) or b"")

    def _send_endlessly(self, piece: bytes, pause_seconds: float) -> None:
        if self._transport.is_closing():
            return
        if self._writable:
            self._transport.write(self._connection.send(h11.Data(data=piece)) or b"")
        self._loop.call_later(pause_seconds, self._send_endlessly, piece, pause_seconds)
