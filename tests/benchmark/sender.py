"""What one delivery costs in each sender, beside pywebpush's own `webpush()` in a loop.

Run: python -m tests.benchmark.sender [--count 2000] [--rounds 3]. The push service is a simulator that checks
nothing, in a process of its own on loopback over TLS. Trust the CPU column and the ratios; wall rates swing.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from rich.console import Console

from app.push.endpoint import EndpointPolicy
from app.push.factory import create_sender
from app.push.keys import VapidKey
from app.push.message import PushMessage
from app.push.outcome import Verdict
from tests.benchmark import report
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
from tests.benchmark.report import Row

SENDERS = ("curl", "pywebpush")


def main() -> None:
    options = report.options(
        "What one delivery costs in each sender.",
        count=2000,
        of_count="deliveries of a round; webpush() makes a tenth",
    )
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
        console.print(
            report.table(
                f"What a delivery costs; medians of {options.rounds} rounds",
                _rows(costs),
                of="sender",
                ecdh_us=ecdh_us(),
                packages=("pywebpush", "cryptography", "requests"),
            )
        )


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


def _rows(costs: dict[str, list[Cost]]) -> list[Row]:
    return [
        Row(name, median(cost.rate for cost in rounds), median(cost.cpu_us for cost in rounds))
        for name, rounds in costs.items()
    ]


if __name__ == "__main__":
    main()
