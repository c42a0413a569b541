"""Server-Sent Events as an answer: nobody between us and the client keeps them back, and none outlives its client.

Source: HTML Living Standard, "Server-sent events".
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Message, Receive, Scope, Send

MEDIA_TYPE = "text/event-stream"
KEEP_ALIVE = b": still here\n\n"

_CONNECTION_IS_CLOSED = "the handler is closed"

# nginx keeps an answer back until its buffer is full, unless told not to.
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class EventStream(StreamingResponse):
    """Sends the events as they come. Once the client has left, or has all, their source is closed."""

    media_type = MEDIA_TYPE

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        super().__init__(events, headers=_HEADERS)
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_while_connected(message: Message) -> None:
            try:
                await send(message)
            except RuntimeError as error:
                # uvloop knows that the client has left a moment before uvicorn does, and we hear it from there.
                if not str(error).endswith(_CONNECTION_IS_CLOSED):
                    raise

        self.body_iterator = self._until_head_is_answered(scope)
        async with aclosing(self._events):
            await super().__call__(scope, receive, send_while_connected)

    async def _until_head_is_answered(self, scope: Scope) -> AsyncGenerator[bytes]:
        async for event in self._events:
            # HEAD comes here as GET; its headers are out by now, and nothing else is to follow.
            if scope["method"] == "HEAD":
                return
            yield event


def event(name: str, data: str, *, retry_ms: int | None = None) -> bytes:
    """Return one event; the data is a single line. `retry_ms`: how long a client waits before it connects again."""
    retry = f"retry: {retry_ms}\n" if retry_ms is not None else ""
    return f"{retry}event: {name}\ndata: {data}\n\n".encode()


def described(events: str, *, names: Sequence[str], data: type[BaseModel]) -> dict[str, Any]:
    """Return the `responses=` entry of a route that answers with events of these names.

    `data` is what each event's data hold, as JSON; the route names it as its response_model, too.
    Source: OpenAPI 3.2, section 4.14.4.
    """
    schema = {"$ref": f"#/components/schemas/{data.__name__}"}
    properties = {
        "event": {"type": "string", "enum": list(names)},
        "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": schema},
        "retry": {"type": "integer", "minimum": 0},
    }
    return {"description": events, "content": {MEDIA_TYPE: {"itemSchema": {"properties": properties}}}}
