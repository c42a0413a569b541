"""How much of its rate one worker process keeps when the push service is 50 ms away.

Run: python -m tests.benchmark.distance [--count 20000] [--rounds 4] [--milliseconds 50]. Two services take turns,
with a worker process each: one has a push service beside it, one has one that is far away. What the push services
use of their core is shown, for they must not be what limits.
"""

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.benchmark import progress, report
from tests.benchmark.push_service import Sink, make_subscribers, sink
from tests.benchmark.report import Goal
from tests.benchmark.service import Broadcast, Service, running_service

GOAL_KEPT = 0.70


@dataclass(frozen=True, slots=True)
class Setting:
    """A service, and the push service to which it sends from here."""

    name: str
    push_service: Sink
    service: Service
    runs: list[tuple[Broadcast, float]]  # with the part of its core that the push service used

    def run(self, *, what: str, count: int, counts: bool) -> None:
        """Send a broadcast to `count` browsers, which may be one that does not count."""
        with (
            progress.arrivals(report.new_console(), f"{what}: {self.name}", count, self.push_service) as told,
            self.push_service.busy() as busy,
        ):
            broadcast = self.service.broadcast(told)
        if counts:
            self.runs.append((broadcast, busy[0]))

    @property
    def rate(self) -> float:
        return median(broadcast.rate for broadcast, _ in self.runs)

    @property
    def cells(self) -> tuple[str, ...]:
        cpu_us = median(broadcast.cpu_us for broadcast, _ in self.runs)
        return self.name, f"{self.rate:,.0f}", f"{cpu_us:,.0f}", f"{median(busy for _, busy in self.runs):.0%}"


def main() -> None:
    parser = report.parser("A push service far away.", count=20_000, rounds=4, milliseconds=50)
    options = parser.parse_args()
    console = report.new_console()
    with ExitStack() as stack:
        settings = []
        with console.status(f"Making {options.count:,} browsers, twice, and starting two services"):
            for name, milliseconds in (("beside it", 0), (f"{options.milliseconds} ms away", options.milliseconds)):
                ca_dir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                push_service = stack.enter_context(sink(ca_dir, seconds_away=milliseconds / 1000))
                service = stack.enter_context(running_service(push_service, worker_processes=1))
                service.subscribe(make_subscribers(push_service, options.count))
                settings.append(Setting(name, push_service, service, []))
        for number in range(options.rounds + 1):
            for setting in settings:
                what = progress.round_name(number, options.rounds)
                setting.run(what=what, count=options.count, counts=number > 0)
    console.print(
        report.table(
            f"A broadcast to {options.count:,} by one worker process; medians of {options.rounds} rounds",
            ("push service", "deliveries/s", "CPU µs each", "the push service's core"),
            [setting.cells for setting in settings],
        )
    )
    kept = settings[1].rate / settings[0].rate
    what = f"rate with a push service {options.milliseconds} ms away, to one beside it"
    goals = [Goal(what, f"≥ {GOAL_KEPT:.0%}", f"{kept:.0%}", kept >= GOAL_KEPT)]
    report.conclude(console, goals, goals_to=options.goals_to)


if __name__ == "__main__":
    main()
