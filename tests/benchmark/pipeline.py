"""What a delivery costs all of our processes, from the request to the last record, beside pywebpush.

Run: python -m tests.benchmark.pipeline [--count 10000] [--rounds 3]. A broadcast through the API and its embedded
workers on a PostgreSQL of its own, to a sink on loopback; the ledger is checked after each. In turns with it, to
some of the same browsers, `webpush()` in a loop. Trust the CPU columns and the ratio; wall rates swing.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.push.keys import VapidKey
from tests.benchmark import report
from tests.benchmark.peers import Cost, Sink, ecdh_us, make_subscribers, sink, webpush_loop
from tests.benchmark.report import Row
from tests.benchmark.service import Broadcast, Processes, running_service

PEER_TAKES_ONE_IN = 20  # deliveries; it is slow, and its cost does not depend on how many
MEBIBYTE = 1024**2


@dataclass(frozen=True, slots=True)
class Round:
    ours: Broadcast
    theirs: Cost
    ecdh_us: float


def main() -> None:
    options = report.options(
        "What a delivery costs all of our processes.",
        count=10_000,
        of_count="deliveries of a round; webpush() makes a 20th",
    )
    console = Console()
    with tempfile.TemporaryDirectory() as ca_dir, sink(Path(ca_dir)) as push_service:
        with console.status(f"Making {options.count:,} browsers and starting the service"):
            subscribers = make_subscribers(push_service, options.count)
        with running_service(push_service) as service:
            service.subscribe(subscribers[:100])
            service.broadcast()  # the first one waits for the workers to have started, and is not counted
            service.subscribe(subscribers[100:])
            vapid_key, rounds = VapidKey.generate(), []
            for number in range(1, options.rounds + 1):
                with _progress(console, number, options, push_service) as told:
                    ours = service.broadcast(told)
                theirs = webpush_loop(subscribers[::PEER_TAKES_ONE_IN], vapid_key)
                rounds.append(Round(ours, theirs, ecdh_us()))
                console.print(_in_words(number, rounds[-1]))
    console.print(
        report.table(
            f"A broadcast to {options.count:,}; medians of {options.rounds} rounds",
            _rows(rounds),
            of="what",
            ecdh_us=median(each.ecdh_us for each in rounds),
            packages=("pywebpush", "cryptography"),
        )
    )
    console.print(_conclusion(rounds))


@contextmanager
def _progress(
    console: Console, number: int, options: argparse.Namespace, push_service: Sink
) -> Iterator[Callable[[], None]]:
    """Show how many messages have arrived, on a terminal only."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"Round {number} of {options.rounds}", total=options.count)
        before = push_service.accepted
        yield lambda: progress.update(task, completed=push_service.accepted - before)


def _ours_us(each: Round) -> float:
    return (each.ours.used.api + each.ours.used.workers) * 1e6 / each.ours.deliveries


def _in_words(number: int, each: Round) -> str:
    return (
        f"Round {number}: {each.ours.deliveries:,} in {each.ours.wall_seconds:.1f} s, the ledger adds up; "
        f"CPU us each: {_ours_us(each):.0f}, webpush() {each.theirs.cpu_us:,.0f}"
    )


def _rows(rounds: list[Round]) -> list[Row]:
    def ours(cpu_seconds: Callable[[Processes], float]) -> float:
        return median(cpu_seconds(each.ours.used) * 1e6 / each.ours.deliveries for each in rounds)

    return [
        Row(
            "pywebpush webpush() in a loop",
            median(each.theirs.rate for each in rounds),
            median(each.theirs.cpu_us for each in rounds),
        ),
        Row(
            "ours, from request to record",
            median(each.ours.deliveries / each.ours.wall_seconds for each in rounds),
            median(map(_ours_us, rounds)),
        ),
        Row("  of that the workers", None, ours(lambda used: used.workers)),
        Row("  of that the API", None, ours(lambda used: used.api)),
        Row("PostgreSQL meanwhile", None, ours(lambda used: used.postgres)),
    ]


def _conclusion(rounds: list[Round]) -> str:
    times = median(each.theirs.cpu_us / _ours_us(each) for each in rounds)
    peak = max(each.ours.peak_worker_bytes for each in rounds) / MEBIBYTE
    answer = median(each.ours.answer_seconds for each in rounds) * 1000
    return (
        f"{times:.1f} times less CPU than pywebpush's loop. The request was answered in {answer:.0f} ms, and the "
        f"largest worker took {peak:.0f} MiB."
    )


if __name__ == "__main__":
    main()
