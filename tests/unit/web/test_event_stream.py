"""Server-Sent Events as an answer, with a client that leaves at a bad moment."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message

from app.web.event_stream import EventStream, event

SCOPE = {"type": "http", "method": "GET", "asgi": {"spec_version": "2.3"}}


async def answer(fault: str) -> tuple[list[str], bool]:
    """Answer with events without end, to a server that meets this fault and then hears of a leave.

    Return what was sent, and whether the events' source was closed.
    """
    sent: list[str] = []
    has_left = asyncio.Event()
    is_closed = False

    async def events() -> AsyncGenerator[bytes]:
        nonlocal is_closed
        try:
            while True:
                yield event("progress", "{}")
                await asyncio.sleep(0)
        finally:
            is_closed = True

    async def send(message: Message) -> None:
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            has_left.set()
            raise RuntimeError(fault)

    async def receive() -> Message:
        await has_left.wait()
        return {"type": "http.disconnect"}

    await EventStream(events())(SCOPE, receive, send)
    return sent, is_closed


def test_a_client_that_has_left_before_the_server_knows_is_no_fault() -> None:
    sent, is_closed = asyncio.run(answer("unable to perform operation on <TCPTransport>; the handler is closed"))

    assert sent[:2] == ["http.response.start", "http.response.body"]
    assert is_closed


def test_another_fault_stays_one() -> None:
    with pytest.raises(RuntimeError, match="something else"):
        asyncio.run(answer("something else"))
