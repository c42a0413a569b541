"""What one delivery costs in each sender, beside its peers: the sending process alone, without a database.

Run: python -m tests.benchmark.sender [--count 4000] [--rounds 5]. Each sender has a core, the push service another.
Trust the CPU columns and the ratios; wall rates swing.
"""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

from app.push.endpoint import EndpointPolicy
from app.push.factory import create_sender
from app.push.keys import VapidKey
from app.push.message import PushMessage
from app.push.outcome import Verdict
from app.push.sender import Sender
from tests.benchmark import progress, report
from tests.benchmark.measuring import Cost, ecdh_us, measured
from tests.benchmark.peers import running_peers
from tests.benchmark.push_service import (
    PAYLOAD,
    SUBJECT,
    TTL_SECONDS,
    Sink,
    Subscriber,
    make_subscribers,
    on_core,
    sink,
)
from tests.benchmark.report import Row

OURS = {"curl": 1.0, "pywebpush": 0.25}  # and which part of a round's deliveries each makes


def main() -> None:
    options = report.parser("What one delivery costs in each sender.", count=4000, rounds=5).parse_args()
    console = report.new_console()
    with ExitStack() as stack:
        push_service = stack.enter_context(sink(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        stack.enter_context(on_core(0))
        subscribers = make_subscribers(push_service, options.count)
        peers = stack.enter_context(running_peers(push_service, subscribers))
        absent = [Row(f"{peer.name} ({peer.why_not})", None, None) for peer in peers if peer.send is None]
        competitors: dict[str, Callable[[], Cost]] = {
            peer.name: partial(peer.send, int(peer.takes * options.count))
            for peer in peers
            if peer.send is not None
        }
        competitors |= _ours(stack, push_service, subscribers)
        say = stack.enter_context(progress.steps(console, len(competitors) * (options.rounds + 1)))
        costs: dict[str, list[Cost]] = {name: [] for name in competitors}
        ecdhs = []
        for number in range(options.rounds + 1):
            ecdhs.append(ecdh_us())
            for name, compete in competitors.items():
                say(f"{progress.round_name(number, options.rounds)}: {name}")
                cost = compete()
                if number > 0:
                    costs[name].append(cost)
    console.print(
        report.cost_table(
            f"What a delivery costs the sending process; medians of {options.rounds} rounds",
            [*_rows(costs), *absent],
            of="sender",
            ecdh_us=median(ecdhs),
            packages=("pywebpush", "cryptography", "requests", "aiohttp", "pycurl"),
        )
    )


def _ours(stack: ExitStack, push_service: Sink, subscribers: list[Subscriber]) -> dict[str, Callable[[], Cost]]:
    messages, policy = _messages(subscribers), EndpointPolicy(allow_loopback=True)
    competitors: dict[str, Callable[[], Cost]] = {}
    for kind, takes in OURS.items():
        sender = create_sender(kind, policy=policy, subject=SUBJECT, ca_file=push_service.ca_file)
        stack.callback(sender.close)
        competitors[f"ours: {kind}"] = partial(_send, sender, messages[: int(takes * len(messages))])
    return competitors


def _send(sender: Sender, messages: list[PushMessage]) -> Cost:
    with measured(len(messages)) as cost:
        verdicts = [outcome.verdict for pairs in sender.send(messages) for _message, outcome in pairs]
    assert verdicts == [Verdict.ACCEPTED] * len(messages)
    return cost()


def _messages(subscribers: list[Subscriber]) -> list[PushMessage]:
    vapid_key = VapidKey.generate()
    return [
        PushMessage(
            endpoint=subscriber.endpoint,
            p256dh=subscriber.p256dh,
            auth=subscriber.auth,
            payload=PAYLOAD.encode(),
            vapid_key=vapid_key,
            ttl_seconds=TTL_SECONDS,
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
