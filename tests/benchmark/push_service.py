"""The push service that is posted to, a sink on loopback with a core of its own, its browsers and what they get."""

import json
import multiprocessing
import os
import secrets
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import psutil
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.push.keys import encode_base64url
from app.simulator import Serving
from tests.benchmark import distant
from tests.support.sinks import sink_process

SUBJECT = "mailto:push@example.com"
PAYLOAD = '{"title": "New Blog Post", "body": "Check out the latest article", "url": "/blog/latest-post"}'
TTL_SECONDS = 3600
TIMEOUT_SECONDS = 60.0


_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []  # Linux alone lets us choose


@dataclass(frozen=True, slots=True)
class Subscriber:
    """What a browser hands over."""

    endpoint: str
    p256dh: str
    auth: str


class Sink:
    """A push service that checks nothing, on loopback over TLS, in a process of its own."""

    def __init__(self, serving: Serving, pid: int) -> None:
        assert serving.ca_file is not None
        self.url = serving.url
        self.ca_file = serving.ca_file
        self._counts_url = f"{serving.control_url}/counts"
        self._process = psutil.Process(pid)
        self._trust = ssl.create_default_context(cafile=serving.ca_file)

    @property
    def accepted(self) -> int:
        """How many messages it has accepted since it runs."""
        with urlopen(self._counts_url, context=self._trust, timeout=TIMEOUT_SECONDS) as answer:
            return int(json.load(answer)["accepted"])

    @contextmanager
    def busy(self) -> Iterator[list[float]]:
        """Measure which part of its core the sink needs during the block: the list has one number afterwards."""
        share: list[float] = []
        wall, cpu = time.perf_counter(), self._cpu_seconds()
        yield share
        share.append((self._cpu_seconds() - cpu) / (time.perf_counter() - wall))

    def _cpu_seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def sink(ca_dir: Path, *, seconds_away: float = 0.0) -> Iterator[Sink]:
    """Run a sink for the block, on the last core where cores can be chosen."""
    with ExitStack() as stack:
        others = set(multiprocessing.active_children())
        with on_core(-1):
            serving = stack.enter_context(
                sink_process(ca_dir, by=distant.serve, checks="none", seconds_away=seconds_away)
            )
        [process] = set(multiprocessing.active_children()) - others
        assert process.pid is not None
        yield Sink(serving, process.pid)


@contextmanager
def on_core(index: int) -> Iterator[None]:
    """Keep this thread, and what it starts during the block, on one of the cores: 0 is the first, -1 the last."""
    if not _CORES:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {_CORES[index]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


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
