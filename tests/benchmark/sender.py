"""What one delivery costs in each sender, beside pywebpush's own `webpush()` in a loop.

Run: python -m tests.benchmark.sender [--count 2000] [--rounds 3]. The push service is a simulator that checks
nothing, in a process of its own on loopback over TLS. Trust the CPU column and the ratios; wall rates swing.
"""

import argparse
import multiprocessing
import os
import platform
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pywebpush import webpush
from rich import box
from rich.console import Console
from rich.table import Table

from app.push.endpoint import EndpointPolicy
from app.push.factory import create_sender
from app.push.keys import VapidKey, encode_base64url
from app.push.message import PushMessage
from app.push.outcome import Verdict
from app.simulator.serving import Serving, serve

SENDERS = ("curl", "pywebpush")
SUBJECT = "mailto:push@example.com"
PAYLOAD = b'{"title": "New Blog Post", "body": "Check out the latest article", "url": "/blog/latest-post"}'


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run of deliveries took in this process."""

    deliveries: int
    wall_seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        return self.deliveries / self.wall_seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_seconds * 1e6 / self.deliveries


def main() -> None:
    options = _options()
    console = Console()
    with tempfile.TemporaryDirectory() as ca_dir, _sink(Path(ca_dir)) as sink:
        messages = _messages(sink.url, options.count)
        competitors: dict[str, Callable[[], Cost]] = {
            "pywebpush webpush() in a loop": partial(_loop, messages[: options.count // 10]),
            **{f"our sender: {kind}": partial(_send, kind, messages, sink) for kind in SENDERS},
        }
        costs: dict[str, list[Cost]] = {name: [] for name in competitors}
        for _round in range(options.rounds):
            for name, compete in competitors.items():
                costs[name].append(compete())
        console.print(_table(costs, ecdh_us=_ecdh_us()))


def _send(kind: str, messages: list[PushMessage], sink: Serving) -> Cost:
    policy = EndpointPolicy(allow_loopback=True)
    sender = create_sender(kind, policy=policy, subject=SUBJECT, ca_file=sink.ca_file)
    with _measured(len(messages)) as measured:
        verdicts = [outcome.verdict for pairs in sender.send(messages) for _message, outcome in pairs]
    sender.close()
    assert verdicts == [Verdict.ACCEPTED] * len(messages)
    return measured()


def _loop(messages: list[PushMessage]) -> Cost:
    with _measured(len(messages)) as measured:
        for message in messages:
            webpush(
                {"endpoint": message.endpoint, "keys": {"p256dh": message.p256dh, "auth": message.auth}},
                data=message.payload,
                vapid_private_key=message.vapid_key.export_private(),
                vapid_claims={"sub": SUBJECT},
                ttl=message.ttl_seconds,
            )
    return measured()


@contextmanager
def _measured(deliveries: int) -> Iterator[Callable[[], Cost]]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield lambda: Cost(deliveries, *took)
    took = (time.perf_counter() - wall, time.process_time() - cpu)


@contextmanager
def _sink(ca_dir: Path) -> Iterator[Serving]:
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_serve_sink, args=(ca_dir, there), daemon=True)
    process.start()
    serving: Serving = here.recv()
    # webpush() makes a session for each message; only the environment reaches it. Our senders ignore this.
    os.environ["REQUESTS_CA_BUNDLE"] = str(serving.ca_file)
    try:
        yield serving
    finally:
        process.terminate()
        process.join()


def _serve_sink(ca_dir: Path, parent: Connection) -> None:
    serve("127.0.0.1", 0, tls=True, ca_dir=ca_dir, checks="none", ready=parent.send)


def _messages(url: str, count: int) -> list[PushMessage]:
    vapid_key = VapidKey.generate()
    return [
        PushMessage(
            endpoint=f"{url}/fcm/{secrets.token_urlsafe(100)}",
            p256dh=_p256dh(),
            auth=encode_base64url(secrets.token_bytes(16)),
            payload=PAYLOAD,
            vapid_key=vapid_key,
            ttl_seconds=3600,
        )
        for _ in range(count)
    ]


def _p256dh() -> str:
    public_key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return encode_base64url(public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def _ecdh_us(times: int = 2000) -> float:
    """Return the time of one ECDH on this core, the unit in which our goals are written."""
    private_key, peer = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    public_key = peer.public_key()
    began = time.process_time()
    for _ in range(times):
        private_key.exchange(ec.ECDH(), public_key)
    return (time.process_time() - began) * 1e6 / times


def _table(costs: dict[str, list[Cost]], *, ecdh_us: float) -> Table:
    versions = ", ".join(f"{package} {version(package)}" for package in ("pywebpush", "cryptography", "requests"))
    table = Table(
        title=f"What a delivery costs; medians of {len(next(iter(costs.values())))} rounds",
        caption=f"Python {platform.python_version()}, {versions}; one ECDH: {ecdh_us:.0f} us",
        box=box.SIMPLE_HEAD,
    )
    for column in ("sender", "deliveries/s", "CPU us each", "in ECDHs"):
        table.add_column(column, justify="left" if column == "sender" else "right")
    for name, rounds in costs.items():
        cpu_us = statistics.median(cost.cpu_us for cost in rounds)
        rate = statistics.median(cost.rate for cost in rounds)
        table.add_row(name, f"{rate:,.0f}", f"{cpu_us:,.0f}", f"{cpu_us / ecdh_us:.1f}")
    return table


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What one delivery costs in each sender.")
    parser.add_argument("--count", type=int, default=2000, help="deliveries of a round; webpush() makes a tenth")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
