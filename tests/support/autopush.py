"""A Mozilla push service in one thread: Firefox's WebSocket and the senders' POST (RFC 8030), on one port.

It refuses what autopush refuses, passes bodies on unread (only the browser can decrypt them), and keeps a
journal for tests to wait for and look at. Encryption, other push services, scripted faults: app/simulator.
"""

import asyncio
import secrets
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.support.autopush_rules import Refused, check_message, check_vapid, from_base64url, to_base64url

DELIVERED = 100  # the code of an ack: decrypted and handed to the service worker


@dataclass
class Channel:
    """One subscription, as the browser registered it."""

    channel_id: str
    uaid: str
    endpoint: str
    application_server_key: bytes | None
    is_registered: bool = True


@dataclass(frozen=True)
class Message:
    """A push message on its way to the browser; `version` is its id there and in acks."""

    version: str
    channel: Channel
    ttl_seconds: int
    body: bytes

    def as_notification(self) -> dict[str, Any]:
        frame: dict[str, Any] = {
            "messageType": "notification",
            "channelID": self.channel.channel_id,
            "version": self.version,
            "ttl": self.ttl_seconds,
        }
        if self.body:
            frame |= {"data": to_base64url(self.body), "headers": {"encoding": "aes128gcm"}}
        return frame


@dataclass(frozen=True)
class Post:
    """What a sender posted, and what it was told."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    status: int
    errno: int | None
    version: str | None


@dataclass(frozen=True)
class Ack:
    version: str
    code: int


@dataclass
class Journal:
    """All that happened, in order. Written under the server's condition."""

    hellos: list[str] = field(default_factory=list)  # the uaid that each was answered with
    channels: dict[str, Channel] = field(default_factory=dict)  # by endpoint
    unacked: dict[str, Message] = field(default_factory=dict)  # by version
    posts: list[Post] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    nacks: list[dict[str, Any]] = field(default_factory=list)  # the service worker threw


class AutopushServer:
    """Runs from `with` to its end; `url` goes into dom.push.serverURL, `origin` begins every endpoint."""

    def __init__(self) -> None:
        self.journal = Journal()
        self._changed = threading.Condition()
        self._connections: dict[str, WebSocket] = {}  # by uaid
        self._loop: asyncio.AbstractEventLoop | None = None  # the server's, as soon as somebody has said hello
        self._socket = socket.create_server(("127.0.0.1", 0))
        authority = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.url = f"ws://{authority}/"
        self.origin = f"http://{authority}"
        app = Starlette(
            routes=[
                WebSocketRoute("/", self._talk),
                Route("/wpush/v2/{token}", self._take, methods=["POST"]),
            ]
        )
        self._server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        )
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="autopush", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=60)

    def wait_for(self, condition: Callable[[Journal], bool], what: str, *, seconds: float = 60) -> None:
        """Return as soon as the journal fulfils the condition, else raise AssertionError."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self.journal), timeout=seconds):
                raise AssertionError(f"autopush waited {seconds:g} s in vain for {what}: {self.journal}")

    def wait_for_hello(self) -> None:
        """Return once Firefox is connected: a subscribe() before that hangs."""
        self.wait_for(lambda journal: bool(journal.hellos), "hello")

    def wait_for_ack(self, version: str) -> Ack:
        self.wait_for(lambda journal: any(ack.version == version for ack in journal.acks), f"ack of {version}")
        return next(ack for ack in self.journal.acks if ack.version == version)

    def lose(self, endpoint: str) -> None:
        """Forget one subscription without telling its browser."""
        with self._writing() as journal:
            journal.channels[endpoint].is_registered = False

    def lose_everybody(self) -> None:
        """Forget every browser, as a push service does that lost its database, and return once one is back.

        Its subscriptions are gone. Firefox hears that from the new uaid, and fires pushsubscriptionchange for each.
        """
        with self._writing() as journal:
            for channel in journal.channels.values():
                channel.is_registered = False
            hellos = len(journal.hellos)
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._break_connections)
        self.wait_for(lambda journal: len(journal.hellos) > hellos, "hello again")

    @contextmanager
    def _writing(self) -> Iterator[Journal]:
        with self._changed:
            yield self.journal
            self._changed.notify_all()

    async def _talk(self, websocket: WebSocket) -> None:
        await websocket.accept(subprotocol="push-notification")
        uaid = ""
        try:
            while True:
                frame = await websocket.receive_json()
                match frame.get("messageType", "ping"):
                    case "hello":
                        uaid = await self._hello(websocket, frame)
                    case "register":
                        await websocket.send_json(self._register(uaid, frame))
                    case "unregister":
                        await websocket.send_json(self._unregister(frame))
                    case "ack":
                        self._acknowledge(frame)
                    case "nack":
                        with self._writing() as journal:
                            journal.nacks.append(frame)
                    case "ping":
                        await websocket.send_json({})
        except WebSocketDisconnect:
            if self._connections.get(uaid) is websocket:
                del self._connections[uaid]

    def _break_connections(self) -> None:
        # A WebSocket's own close() would have Firefox wait ten seconds before it comes again.
        for connection in self._server.server_state.connections:
            if connection.transport is not None:
                connection.transport.abort()

    async def _hello(self, websocket: WebSocket, frame: dict[str, Any]) -> str:
        self._loop = asyncio.get_running_loop()
        known = {channel.uaid for channel in self.journal.channels.values() if channel.is_registered}
        uaid: str = frame["uaid"] if frame.get("uaid") in known else uuid.uuid4().hex
        self._connections[uaid] = websocket
        await websocket.send_json(
            {"messageType": "hello", "status": 200, "uaid": uaid, "use_webpush": True, "broadcasts": {}}
        )
        with self._writing() as journal:
            journal.hellos.append(uaid)
        for message in list(self.journal.unacked.values()):
            if message.channel.uaid == uaid:
                await websocket.send_json(message.as_notification())
        return uaid

    def _register(self, uaid: str, frame: dict[str, Any]) -> dict[str, Any]:
        """Answer with the channel's endpoint. Firefox may ask twice: the second answer is the first again."""
        channel = self._channel(frame["channelID"])
        if channel is None:
            key = from_base64url(frame["key"]) if frame.get("key") else None
            endpoint = f"{self.origin}/wpush/v2/{secrets.token_urlsafe(32)}"
            channel = Channel(frame["channelID"], uaid, endpoint, key)
            with self._writing() as journal:
                journal.channels[endpoint] = channel
        return {
            "messageType": "register",
            "status": 200,
            "channelID": channel.channel_id,
            "uaid": uaid,
            "pushEndpoint": channel.endpoint,
        }

    def _unregister(self, frame: dict[str, Any]) -> dict[str, Any]:
        channel = self._channel(frame["channelID"])
        if channel is not None:
            with self._writing():
                channel.is_registered = False
        return {"messageType": "unregister", "status": 200, "channelID": frame["channelID"]}

    def _acknowledge(self, frame: dict[str, Any]) -> None:
        with self._writing() as journal:
            for update in frame["updates"]:
                journal.unacked.pop(update["version"], None)
                journal.acks.append(Ack(update["version"], update.get("code", DELIVERED)))

    def _channel(self, channel_id: str) -> Channel | None:
        return next((c for c in self.journal.channels.values() if c.channel_id == channel_id), None)

    async def _take(self, request: Request) -> Response:
        url = f"{self.origin}{request.url.path}"
        headers = request.headers
        body = await request.body()
        try:
            message = self._accept(url, headers, body)
        except Refused as refusal:
            with self._writing() as journal:
                journal.posts.append(Post(url, headers, body, refusal.status, refusal.errno, version=None))
            problem = {"code": refusal.status, "errno": refusal.errno, "message": str(refusal)}
            return JSONResponse(problem, status_code=refusal.status)
        connection = self._connections.get(message.channel.uaid)
        with self._writing() as journal:
            journal.posts.append(Post(url, headers, body, 201, errno=None, version=message.version))
            if connection is not None or message.ttl_seconds > 0:
                journal.unacked[message.version] = message
        if connection is not None:
            await connection.send_json(message.as_notification())
        answer = {"Location": f"{self.origin}/m/{message.version}", "TTL": str(message.ttl_seconds)}
        return Response(status_code=201, headers=answer)

    def _accept(self, url: str, headers: Mapping[str, str], body: bytes) -> Message:
        """Check a post the way autopush does. Raises Refused."""
        channel = self.journal.channels.get(url)
        if channel is None:
            raise Refused(404, 102, "Invalid token")
        if not channel.is_registered:
            raise Refused(410, 106, "No such subscription")
        check_vapid(headers.get("authorization", ""), channel.application_server_key, audience=self.origin)
        return Message(uuid.uuid4().hex, channel, check_message(headers, body), body)
