"""What one delivery costs in each sender, beside pywebpush's own `webpush()` in a loop.

Run: python -m tests.benchmark.sender [--count 2000] [--rounds 3]. The push service is a simulator that checks
nothing, in a process of its own on loopback over TLS. Trust the CPU column and the ratios; wall rates swing.
"""

import argparse
import platform
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from app.push.endpoint import EndpointPolicy
from app.push.factory import create_sender
from app.push.keys import VapidKey
from app.push.message import PushMessage
from app.push.outcome import Verdict
from tests.benchmark.peers import (
    PAYLOAD,
    SUBJECT,
    Cost,
    Sink,
    Subscriber,
    ecdh_us,
    make_subscribers,
    measured,
    sink,
    webpush_loop,
)

SENDERS = ("curl", "pywebpush")


def main() -> None:
    options = _options()
    console = Console()
    with tempfile.TemporaryDirectory() as ca_dir, sink(Path(ca_dir)) as push_service:
        subscribers, vapid_key = make_subscribers(push_service, options.count), VapidKey.generate()
        messages = _messages(subscribers, vapid_key)
        competitors: dict[str, Callable[[], Cost]] = {
            "pywebpush webpush() in a loop": partial(webpush_loop, subscribers[: options.count // 10], vapid_key),
            **{f"our sender: {kind}": partial(_send, kind, messages, push_service) for kind in SENDERS},
        }
        costs: dict[str, list[Cost]] = {name: [] for name in competitors}
        for _round in range(options.rounds):
            for name, compete in competitors.items():
                costs[name].append(compete())
        console.print(_table(costs, ecdh_us=ecdh_us()))


def _send(kind: str, messages: list[PushMessage], push_service: Sink) -> Cost:
    policy = EndpointPolicy(allow_loopback=True)
    sender = create_sender(kind, policy=policy, subject=SUBJECT, ca_file=push_service.ca_file)
    with measured(len(messages)) as cost:
        verdicts = [outcome.verdict for pairs in sender.send(messages) for _message, outcome in pairs]
    sender.close()
    assert verdicts == [Verdict.ACCEPTED] * len(messages)
    return cost()


def _messages(subscribers: list[Subscriber], vapid_key: VapidKey) -> list[PushMessage]:
    return [
        PushMessage(
            endpoint=subscriber.endpoint,
            p256dh=subscriber.p256dh,
            auth=subscriber.auth,
            payload=PAYLOAD,
            vapid_key=vapid_key,
            ttl_seconds=3600,
        )
        for subscriber in subscribers
    ]


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
