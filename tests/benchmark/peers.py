"""Other senders, beside which ours is measured: pywebpush's two ways, and those of node_peers.py.

All of them send the same message over TLS that they verify, and fail if it is not accepted.
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

import aiohttp
from pywebpush import webpush, webpush_async

from app.push.keys import VapidKey
from tests.benchmark import node_peers
from tests.benchmark.measuring import Cost, measured
from tests.benchmark.node_peers import NodeSender
from tests.benchmark.push_service import PAYLOAD, SUBJECT, TTL_SECONDS, Sink, Subscriber

AT_ONCE = 100
# node compiles what it runs often, and costs half as much after some thousand messages. The goals are for a process
# that sends a broadcast to 5,000, which is half a round's; what it comes to in the end stands beside it.
NEW_PROCESS, WARM_PROCESS = "a new process", "warmed up"
KEEP_ALIVE_SECONDS = 600.0  # longer than a round: its connections are open, as everybody else's are

SubscriptionInfo = dict[str, str | bytes | dict[str, str | bytes]]


@dataclass(frozen=True, slots=True)
class Peer:
    """A sender of somebody else's. `send` is None where it cannot run: `why_not` then says why."""

    name: str
    goal: float | None  # how many times the CPU of our whole pipeline it is to take
    takes: float  # which part of a round's deliveries it makes: fewer of the slow ones, for the cost is the same
    send: Callable[[int], Cost] | None  # so many deliveries
    why_not: str = ""


@contextmanager
def running_peers(push_service: Sink, subscribers: Sequence[Subscriber]) -> Iterator[list[Peer]]:
    """Yield the peers, ready to send to the first of these subscribers."""
    vapid_key = VapidKey.generate()
    # webpush() makes a session for each message; only the environment reaches it. Our senders ignore this.
    os.environ["REQUESTS_CA_BUNDLE"] = str(push_service.ca_file)
    with ExitStack() as stack:
        loop = asyncio.Runner()
        stack.callback(loop.close)
        at_once = AtOnce(loop, subscribers, vapid_key, push_service)
        stack.callback(at_once.close)

        def on_node(name: str, module: str, *, goal: float, takes: float) -> list[Peer]:
            new, warm = f"{name}, {NEW_PROCESS}", f"{name}, {WARM_PROCESS}"
            try:
                node_peers.see_that_it_runs(module)
            except node_peers.NotHere as why:
                return [Peer(new, goal, 0.5, None, str(why)), Peer(warm, None, takes, None, str(why))]

            def send_anew(count: int) -> Cost:
                with closing(NodeSender(module, subscribers, vapid_key, push_service)) as sender:
                    return sender.send(count)

            sender = NodeSender(module, subscribers, vapid_key, push_service)
            stack.callback(sender.close)
            sender.warm_up()
            return [Peer(new, goal, 0.5, send_anew), Peer(warm, None, takes, sender.send)]

        yield [
            Peer("pywebpush webpush() in a loop", 18, 0.05, lambda n: webpush_loop(subscribers[:n], vapid_key)),
            Peer("pywebpush webpush_async, one session, 100 at once", 3.5, 0.25, at_once.send),
            *on_node("node web-push, keep-alive, 100 at once", "web_push", goal=6.5, takes=0.15),
            *on_node("node, written by hand on crypto and http2", "http2_sender", goal=1.7, takes=0.5),
        ]


def webpush_loop(subscribers: Sequence[Subscriber], vapid_key: VapidKey) -> Cost:
    """Send to each as a small application does: one call a message, one after the other."""
    private_key = vapid_key.export_private()
    with measured(len(subscribers)) as cost:
        for subscriber in subscribers:
            webpush(
                _subscription_info(subscriber),
                data=PAYLOAD,
                vapid_private_key=private_key,
                vapid_claims={"sub": SUBJECT},
                ttl=TTL_SECONDS,
            )
    return cost()


class AtOnce:
    """webpush_async over one aiohttp session, which stays open, a hundred at once."""

    def __init__(
        self, loop: asyncio.Runner, subscribers: Sequence[Subscriber], vapid_key: VapidKey, push_service: Sink
    ) -> None:
        self._loop = loop
        self._subscribers = subscribers
        self._private_key = vapid_key.export_private()
        self._session = loop.run(_open_session(push_service))

    def send(self, count: int) -> Cost:
        return self._loop.run(self._send(self._subscribers[:count]))

    def close(self) -> None:
        self._loop.run(self._session.close())

    async def _send(self, subscribers: Sequence[Subscriber]) -> Cost:
        with measured(len(subscribers)) as cost:
            remaining = iter(subscribers)
            await asyncio.gather(*(self._send_what_is_left(remaining) for _ in range(AT_ONCE)))
        return cost()

    async def _send_what_is_left(self, remaining: Iterator[Subscriber]) -> None:
        for subscriber in remaining:
            await webpush_async(  # raises unless it is accepted
                _subscription_info(subscriber),
                data=PAYLOAD,
                vapid_private_key=self._private_key,
                vapid_claims={"sub": SUBJECT},
                ttl=TTL_SECONDS,
                aiohttp_session=self._session,
            )


async def _open_session(push_service: Sink) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        ssl=ssl.create_default_context(cafile=push_service.ca_file),
        limit=AT_ONCE,
        keepalive_timeout=KEEP_ALIVE_SECONDS,
    )
    return aiohttp.ClientSession(connector=connector)


def _subscription_info(subscriber: Subscriber) -> SubscriptionInfo:
    return {"endpoint": subscriber.endpoint, "keys": {"p256dh": subscriber.p256dh, "auth": subscriber.auth}}
