"""Bounds on what a client sends, over real connections to a real uvicorn with an app of a few lines."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.web.http_protocol import MAX_HEAD_BYTES, BoundedHttp
from app.web.secure_headers import SECURE_HEADERS

DEADLINE_SECONDS = 60.0
SHORT_SECONDS = 0.5
PIECE = b"x" * 1024 * 1024
LONG_ANSWER = 32 * len(PIECE)

Answer = tuple[int, dict[str, str], bytes]
Connect = Callable[..., socket.socket]


async def count_the_body(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the length of the body, after twice the patience of a test's server if the path is /slow."""
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message["body"])
        more = message["more_body"]
    if scope["path"] == "/slow":
        await asyncio.sleep(2 * SHORT_SECONDS)
    body = str(length).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def answer_at_length(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer with more than all buffers hold."""
    await send({"type": "http.response.start", "status": 200})
    for _ in range(LONG_ANSWER // len(PIECE)):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    await send({"type": "http.response.body"})


@contextmanager
def stopping_while_it_answers(*, patience: float) -> Iterator[tuple[socket.socket, threading.Thread]]:
    """Yield a connection whose answer waits to be read, and the thread of the server, which was told to stop."""
    protocol = type("Protocol", (BoundedHttp,), {"unread_seconds": patience})
    server = uvicorn.Server(uvicorn.Config(answer_at_length, http=protocol, lifespan="off", log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        with socket.create_connection(listener.getsockname(), DEADLINE_SECONDS) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            connection.recv(1)
            server.should_exit = True
            yield connection, thread
        thread.join(DEADLINE_SECONDS)


@pytest.fixture
def connect() -> Iterator[Connect]:
    """`connect()` opens a connection to a server, `connect(patience=0.5)` to one that waits no longer than that.

    What is to be said first is there before the server is, whose patience begins with the connection.
    """
    with ExitStack() as stack:

        def open_connection(first: bytes = b"", *, patience: float = DEADLINE_SECONDS) -> socket.socket:
            protocol = type("Protocol", (BoundedHttp,), {"request_seconds": patience})
            config = uvicorn.Config(count_the_body, http=protocol, lifespan="off", log_config=None)
            server = uvicorn.Server(config)
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            connection = socket.create_connection(listener.getsockname(), DEADLINE_SECONDS)
            connection.sendall(first)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            stack.callback(thread.join, DEADLINE_SECONDS)
            stack.callback(setattr, server, "should_exit", True)
            return stack.enter_context(connection)

        yield open_connection


def until_closed(connection: socket.socket) -> bytes:
    received = bytearray()
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    return bytes(received)


def answers(received: bytes) -> list[Answer]:
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers["content-length"])
        found.append((int(status.split()[1]), headers, rest[:length]))
        received = rest[length:]
    return found


def problem_of(received: bytes) -> Any:
    ((status, headers, body),) = answers(received)
    document = json.loads(body)
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert {name: headers.get(name.lower()) for name in SECURE_HEADERS} == dict(SECURE_HEADERS)
    assert "server" not in headers
    assert document["status"] == status
    return document


def send_until_refused(connection: socket.socket, start: bytes, piece: bytes, *, most: int) -> int:
    """Send the start and then pieces, and return how many bytes it took until the other side had enough."""
    sent = len(start)
    with suppress(ConnectionError):
        connection.sendall(start)
        connection.setblocking(False)
        while sent < most:
            try:
                sent += connection.send(piece)
            except BlockingIOError:
                continue
    connection.settimeout(DEADLINE_SECONDS)
    return sent


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Endless: ", b"x" * 10_000),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"X-Another: one\r\n" * 500),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n",
            b"X-Trailer: one\r\n" * 500,
        ),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x" * 10_000),
    ],
    ids=["one header", "many headers", "trailers", "chunk extension"],
)
def test_what_never_ends_is_cut_off(connect: Connect, start: bytes, piece: bytes) -> None:
    connection = connect()

    sent = send_until_refused(connection, start, piece, most=64 * 1024 * 1024)

    # Some is on its way, in the buffers of both sides, when the connection is closed.
    assert sent < 32 * 1024 * 1024


def test_a_head_that_is_too_large_is_told_so(connect: Connect) -> None:
    connection = connect()

    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ")
    connection.sendall(b"x" * (MAX_HEAD_BYTES + 1))

    problem = problem_of(until_closed(connection))
    assert (problem["status"], problem["type"]) == (431, "/problems/request-head-too-large")


def test_a_head_of_ordinary_size_is_not(connect: Connect) -> None:
    connection = connect()

    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Long: " + b"x" * 30_000 + b"\r\n\r\n")

    assert [status for status, _, _ in answers(until_closed(connection))] == [200]


def test_a_body_is_not_counted_as_head_and_may_come_a_byte_at_a_time(connect: Connect) -> None:
    connection = connect()
    length = 50_000

    connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n" + b"x" * 500_000)
    connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
    connection.sendall(b"1\r\nx\r\n" * length + b"0\r\n\r\n")

    assert [body for _, _, body in answers(until_closed(connection))] == [b"500000", str(length).encode()]


@pytest.mark.parametrize(
    "begun",
    [
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf",
    ],
)
def test_a_request_that_stops_half_way_is_not_waited_for(connect: Connect, begun: bytes) -> None:
    connection = connect(begun, patience=SHORT_SECONDS)

    problem = problem_of(until_closed(connection))
    assert (problem["status"], problem["type"]) == (408, "/problems/request-timeout")


def test_a_connection_that_asks_nothing_is_closed_without_a_word(connect: Connect) -> None:
    connection = connect(patience=SHORT_SECONDS)

    assert until_closed(connection) == b""


def test_a_slow_answer_is_waited_for_and_so_are_the_requests_behind_it(connect: Connect) -> None:
    requests = [
        *[b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"] * 3,
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ]
    connection = connect(b"".join(requests), patience=SHORT_SECONDS)

    assert [status for status, _, _ in answers(until_closed(connection))] == [200] * 4


def test_what_is_not_http_gets_a_problem(connect: Connect) -> None:
    connection = connect()

    connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100)

    problem = problem_of(until_closed(connection))
    assert (problem["status"], problem["type"]) == (400, "/problems/bad-request")


def test_a_server_that_stops_does_not_wait_for_who_takes_nothing_of_its_answer() -> None:
    with stopping_while_it_answers(patience=0.05) as (_, thread):
        thread.join(DEADLINE_SECONDS)
        is_over = not thread.is_alive()

    assert is_over


def test_a_server_that_stops_waits_for_who_reads() -> None:
    with stopping_while_it_answers(patience=DEADLINE_SECONDS) as (connection, _):
        received = until_closed(connection)

    assert received.count(b"x") == LONG_ANSWER
    assert received.endswith(b"0\r\n\r\n")
