"""What the benchmarks share: browsers, a sink to post to, pywebpush's `webpush()` in a loop, and one ECDH."""

import json
import os
import secrets
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pywebpush import webpush

from app.push.keys import VapidKey, encode_base64url
from app.simulator import Serving
from tests.support.sinks import sink_process

SUBJECT = "mailto:push@example.com"
PAYLOAD = b'{"title": "New Blog Post", "body": "Check out the latest article", "url": "/blog/latest-post"}'


@dataclass(frozen=True, slots=True)
class Subscriber:
    """What a browser hands over."""

    endpoint: str
    p256dh: str
    auth: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What deliveries took in this process."""

    deliveries: int
    wall_seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        return self.deliveries / self.wall_seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_seconds * 1e6 / self.deliveries


@contextmanager
def measured(deliveries: int) -> Iterator[Callable[[], Cost]]:
    """Measure the block, which makes so many deliveries; what is yielded tells the cost after it."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield lambda: Cost(deliveries, *took)
    took = (time.perf_counter() - wall, time.process_time() - cpu)


class Sink:
    """A push service that checks nothing, on loopback over TLS, in a process of its own."""

    def __init__(self, serving: Serving) -> None:
        assert serving.ca_file is not None
        self.url = serving.url
        self.ca_file = serving.ca_file
        self._counts_url = f"{serving.control_url}/counts"
        self._trust = ssl.create_default_context(cafile=serving.ca_file)

    @property
    def accepted(self) -> int:
        """How many messages it has accepted since it runs."""
        with urlopen(self._counts_url, context=self._trust, timeout=10) as answer:
            return int(json.load(answer)["accepted"])


@contextmanager
def sink(ca_dir: Path) -> Iterator[Sink]:
    """Run a sink for the block."""
    with sink_process(ca_dir, checks="none") as serving:
        # webpush() makes a session for each message; only the environment reaches it. Our senders ignore this.
        os.environ["REQUESTS_CA_BUNDLE"] = str(serving.ca_file)
        yield Sink(serving)


def make_subscribers(sink: Sink, count: int) -> list[Subscriber]:
    """Make up browsers, each with a key of its own."""
    return [
        Subscriber(
            f"{sink.url}/fcm/{secrets.token_urlsafe(100)}", _p256dh(), encode_base64url(secrets.token_bytes(16))
        )
        for _ in range(count)
    ]


def _p256dh() -> str:
    public_key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return encode_base64url(public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def webpush_loop(subscribers: Sequence[Subscriber], vapid_key: VapidKey) -> Cost:
    """Send to each as a small application does: one call a message, one after the other."""
    with measured(len(subscribers)) as cost:
        for subscriber in subscribers:
            webpush(
                {"endpoint": subscriber.endpoint, "keys": {"p256dh": subscriber.p256dh, "auth": subscriber.auth}},
                data=PAYLOAD,
                vapid_private_key=vapid_key.export_private(),
                vapid_claims={"sub": SUBJECT},
                ttl=3600,
            )
    return cost()


def ecdh_us(times: int = 2000) -> float:
    """Return the CPU time of one ECDH on this core, the unit in which our goals are written."""
    private_key, peer = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    public_key = peer.public_key()
    began = time.process_time()
    for _ in range(times):
        private_key.exchange(ec.ECDH(), public_key)
    return (time.process_time() - began) * 1e6 / times
