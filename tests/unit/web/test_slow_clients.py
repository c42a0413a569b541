"""Clients that take their time, in numbers, over real connections to a real uvicorn: nobody waits for them."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle, islice

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.web.http_protocol import BoundedHttp
from tests.support.waiting import until
from tests.unit.web.test_http_protocol import (
    DEADLINE_SECONDS,
    LONG_ANSWER,
    answer_at_length,
    answers,
    count_the_body,
    until_closed,
)

SLOW_CLIENTS = 200
# What each has sent so far; it goes on byte by byte.
BEGINNINGS = (
    b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n",
    b"GET /",
)
WEBSOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


async def answer_unread(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer before the body is there."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
    await send({"type": "http.response.body", "body": b"."})


async def any_of_them(scope: Scope, receive: Receive, send: Send) -> None:
    app = {"/long": answer_at_length, "/unread": answer_unread}.get(scope["path"], count_the_body)
    await app(scope, receive, send)


class LargeBuffers(BoundedHttp):
    """Buffers that take a whole answer, however long it is."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=2 * LONG_ANSWER)


@contextmanager
def serving(*, patience: float, base: type[BoundedHttp] = BoundedHttp) -> Iterator[uvicorn.Server]:
    protocol = type("Protocol", (base,), {"request_seconds": patience, "unread_seconds": 0.05})
    server = uvicorn.Server(uvicorn.Config(any_of_them, http=protocol, lifespan="off", log_config=None))
    with socket.create_server(("127.0.0.1", 0), backlog=2 * SLOW_CLIENTS) as listener:
        server.address = listener.getsockname()  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield server
        finally:
            server.should_exit = True
            thread.join(DEADLINE_SECONDS)


def connected(server: uvicorn.Server, beginning: bytes = b"") -> socket.socket:
    connection = socket.create_connection(server.address, DEADLINE_SECONDS)  # type: ignore[attr-defined]
    connection.sendall(beginning)
    return connection


def ask(server: uvicorn.Server) -> int:
    with connected(server, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as connection:
        ((status, _, _),) = answers(until_closed(connection))
    return status


def test_two_hundred_that_hang_keep_nobody_else_from_being_served() -> None:
    with serving(patience=DEADLINE_SECONDS) as server, ExitStack() as stack:
        slow = [stack.enter_context(connected(server, each)) for each in islice(cycle(BEGINNINGS), SLOW_CLIENTS)]
        statuses = []
        for round_number in range(10):
            for connection in slow[round_number::10]:
                connection.sendall(b"x")
            statuses.append(ask(server))
        still_there = len(server.server_state.connections)

    assert statuses == [200] * 10
    assert still_there >= SLOW_CLIENTS


@pytest.mark.parametrize("beginning", BEGINNINGS[:2], ids=["in the head", "in the body"])
def test_who_goes_on_byte_by_byte_is_given_up_all_the_same(beginning: bytes) -> None:
    with serving(patience=0.2) as server, connected(server, beginning) as connection:
        is_over = threading.Event()

        def drip() -> None:
            with suppress(OSError):
                while not is_over.wait(0.01):
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        received = until_closed(connection)
        is_over.set()
        thread.join()

    assert received == b"" or b" 408 " in received.partition(b"\r\n")[0]  # cut off while bytes are on their way


@pytest.mark.parametrize(
    ("request_", "more"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n"),
        (b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n", b"x"),
    ],
    ids=["a blank line", "the end of a body that was answered before"],
)
def test_who_sends_what_begins_no_request_is_not_waited_for(request_: bytes, more: bytes) -> None:
    with serving(patience=0.2) as server, connected(server, request_) as connection:
        received = b""
        while not received.partition(b"\r\n\r\n")[2] and (part := connection.recv(65536)):
            received += part

        with suppress(OSError):
            connection.sendall(more)

        until(lambda: not server.server_state.connections, "the server has let go")


@pytest.mark.parametrize("base", [BoundedHttp, LargeBuffers])
def test_who_never_reads_is_let_go(base: type[BoundedHttp]) -> None:
    request = b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n"
    with serving(patience=0.2, base=base) as server, connected(server, request) as connection:
        connection.recv(1)

        until(lambda: not server.server_state.connections, "the server has let go")

        assert len(until_closed(connection)) < LONG_ANSWER


@pytest.mark.parametrize("upgrade", [WEBSOCKET, b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"])
def test_who_wants_another_protocol_gets_this_one_and_no_more(upgrade: bytes) -> None:
    asked = b"GET / HTTP/1.1\r\nHost: x\r\n" + upgrade + b"\r\nGET /second HTTP/1.1\r\nHost: x\r\n\r\n"
    with serving(patience=DEADLINE_SECONDS) as server, connected(server, asked) as connection:
        told = answers(until_closed(connection))

    assert [(status, headers["connection"]) for status, headers, _ in told] == [(200, "close")]
