"""Where a request ends is no matter of opinion: what could be read in two ways is refused, and what follows it."""

import socket
from collections.abc import Iterator

import pytest
import uvicorn

from tests.unit.web.test_http_protocol import DEADLINE_SECONDS, answers, until_closed
from tests.unit.web.test_slow_clients import connected, serving

SECOND = b"GET /second HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[uvicorn.Server]:
    with serving(patience=DEADLINE_SECONDS) as server:
        yield server


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: 3, 4\r\n",
        b"Content-Length: -3\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length: 0x3\r\n",
        b"Content-Length: 3 4\r\n",
        b"Content-Length: 99999999999999999999999999\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Content-Length : 3\r\n",
        b"X-Folded: a\r\n b\r\n",
        b"X-Bare: a\rb\r\n",
        b"X-NUL: a\x00b\r\n",
    ],
)
def test_what_could_end_in_two_places_is_refused(server: uvicorn.Server, head: bytes) -> None:
    with connected(server, b"POST / HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n0\r\n\r\n" + SECOND) as connection:
        told = answers(until_closed(connection))

    assert [status for status, _, _ in told] == [400]


@pytest.mark.parametrize(
    "chunks",
    [b"-1\r\nx\r\n", b"0x1\r\nx\r\n", b"1\r\nxy\r\n", b"ffffffffffffffffff\r\nx", b" 1\r\nx\r\n", b"g\r\n"],
)
def test_a_chunk_that_is_none_is_refused(server: uvicorn.Server, chunks: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connected(server, head + chunks + SECOND) as connection:
        told = answers(until_closed(connection))

    assert [status for status, _, _ in told] == [400]


@pytest.mark.parametrize("method", [b"CONNECT example.org:443", b"BREW /", b"PRI *", b"get /", b"GET\t/", b"G@T /"])
def test_a_method_that_is_none_of_http_is_refused(server: uvicorn.Server, method: bytes) -> None:
    with connected(server, method + b" HTTP/1.1\r\nHost: x\r\n\r\n" + SECOND) as connection:
        told = answers(until_closed(connection))

    assert [status for status, _, _ in told] == [400]


def test_a_body_shorter_than_announced_is_no_request(server: uvicorn.Server) -> None:
    with connected(server, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf") as connection:
        connection.shutdown(socket.SHUT_WR)
        received = until_closed(connection)

    assert b" 200 " not in received
