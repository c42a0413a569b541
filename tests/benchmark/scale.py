"""Whether a large audience costs more: CPU of a delivery and memory of a worker, by the number of recipients.

Run: python -m tests.benchmark.scale [--up-to 100000]. For each size a service of its own, its worker warmed up with
a thousand; then as many broadcasts as it takes to measure a small one. A million takes about five minutes.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path

from rich.console import Console

from tests.benchmark import progress, report
from tests.benchmark.measuring import ecdh_us
from tests.benchmark.push_service import Sink, make_subscribers, sink
from tests.benchmark.report import Goal
from tests.benchmark.service import Service, running_service
from tests.benchmark.usage import Used

BROADCASTS = {1_000: 12, 10_000: 3, 100_000: 1, 1_000_000: 1}  # by the number of recipients
WARM_UP = 1_000
AT_ONCE = 50_000  # browsers that are made and stored together
MEBIBYTE = 1024**2
GOAL_MEBIBYTES = 150
GOAL_SPREAD = 0.15


@dataclass(frozen=True, slots=True)
class Sum:
    """All broadcasts of one size together."""

    recipients: int
    broadcasts: int
    deliveries: int
    wall_seconds: float
    used: Used
    peak_worker_bytes: int
    ecdh_us: float

    @property
    def cpu_us(self) -> float:
        return self.used.ours * 1e6 / self.deliveries

    @property
    def mebibytes(self) -> float:
        return self.peak_worker_bytes / MEBIBYTE

    @property
    def cells(self) -> tuple[str, ...]:
        return (
            f"{self.recipients:,}",
            f"{self.broadcasts}",
            f"{self.deliveries / self.wall_seconds:,.0f}",
            f"{self.cpu_us:.0f}",
            f"{self.cpu_us / self.ecdh_us:.1f}",
            f"{self.used.postgres * 1e6 / self.deliveries:.0f}",
            f"{self.mebibytes:.0f}",
        )


def main() -> None:
    options = report.parser("Whether a large audience costs more.", up_to=100_000).parse_args()
    console = report.new_console()
    with tempfile.TemporaryDirectory() as ca_dir, sink(Path(ca_dir)) as push_service:
        sums = [_measure(size, push_service, console) for size in BROADCASTS if size <= options.up_to]
    console.print(
        report.table(
            "Broadcasts by the number of recipients",
            ("recipients", "broadcasts", "deliveries/s", "CPU µs each", "in ECDHs", "PostgreSQL", "worker MiB"),
            [each.cells for each in sums],
            notes=report.versions(()),
        )
    )
    report.conclude(console, list(_goals(sums)), goals_to=options.goals_to)


def _measure(size: int, push_service: Sink, console: Console) -> Sum:
    with ExitStack() as stack:
        with console.status(f"Making {size:,} browsers and starting a service"):
            service = stack.enter_context(running_service(push_service, has_a_core=True))
            service.subscribe(make_subscribers(push_service, WARM_UP))
            service.broadcast()
            _subscribe(service, push_service, size - WARM_UP)
        unit_us, count = ecdh_us(), BROADCASTS[size]
        runs = []
        for number in range(1, count + 1):
            what = f"{size:,} recipients, broadcast {number} of {count}"
            with progress.arrivals(console, what, size, push_service) as told:
                runs.append(service.broadcast(told))
    return Sum(
        recipients=size,
        broadcasts=count,
        deliveries=sum(each.deliveries for each in runs),
        wall_seconds=sum(each.wall_seconds for each in runs),
        used=reduce(add, (each.used for each in runs)),
        peak_worker_bytes=max(each.peak_worker_bytes for each in runs),
        ecdh_us=(unit_us + ecdh_us()) / 2,
    )


def _subscribe(service: Service, push_service: Sink, count: int) -> None:
    for first in range(0, count, AT_ONCE):
        service.subscribe(make_subscribers(push_service, min(AT_ONCE, count - first)))


def _goals(sums: list[Sum]) -> Iterator[Goal]:
    sizes = f"{sums[0].recipients:,} to {sums[-1].recipients:,}"
    peak = max(each.mebibytes for each in sums)
    yield Goal(f"memory of a worker, {sizes}", f"< {GOAL_MEBIBYTES} MiB", f"{peak:.0f} MiB", peak < GOAL_MEBIBYTES)
    costs = [each.cpu_us for each in sums]
    spread = max(costs) / min(costs) - 1
    yield Goal(f"CPU of a delivery, {sizes}", f"within {GOAL_SPREAD:.0%}", f"{spread:.0%}", spread <= GOAL_SPREAD)


if __name__ == "__main__":
    main()
