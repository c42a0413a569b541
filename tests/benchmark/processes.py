"""What a second worker process costs: the CPU of a delivery with one and with two, and how much faster two are.

Run: python -m tests.benchmark.processes [--count 20000] [--rounds 4]. Two services take turns, each with a
PostgreSQL of its own: one has one process of `python -m app.cli worker`, one has two.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from app.workers.cores import available_cores
from tests.benchmark import progress, report
from tests.benchmark.push_service import make_subscribers, sink
from tests.benchmark.report import Goal
from tests.benchmark.service import Broadcast, running_service

PROCESSES = (1, 2)
GOAL_MORE = 0.10  # CPU for each delivery
CORES_FOR_A_RATE = 4  # for two workers, PostgreSQL and the push service
TOO_FEW_CORES = "which workers, PostgreSQL and the push service share: the rates say little"


def main() -> None:
    options = report.parser("What a second worker process costs.", count=20_000, rounds=4).parse_args()
    console = report.new_console()
    broadcasts: dict[int, list[Broadcast]] = {count: [] for count in PROCESSES}
    with ExitStack() as stack:
        push_service = stack.enter_context(sink(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        with console.status(f"Making {options.count:,} browsers and starting two services"):
            subscribers = make_subscribers(push_service, options.count)
            services = {
                count: stack.enter_context(running_service(push_service, worker_processes=count))
                for count in PROCESSES
            }
            for service in services.values():
                service.subscribe(subscribers)
        for number in range(options.rounds + 1):
            for count, service in services.items():
                what = f"{progress.round_name(number, options.rounds)}: worker processes: {count}"
                with progress.arrivals(console, what, options.count, push_service) as told:
                    broadcast = service.broadcast(told)
                if number > 0:
                    broadcasts[count].append(broadcast)
    console.print(
        report.table(
            f"A broadcast to {options.count:,} by one and two worker processes; medians of {options.rounds} rounds",
            ("worker processes", "deliveries/s", "CPU µs each, all our processes", "PostgreSQL meanwhile"),
            [_row(count, runs) for count, runs in broadcasts.items()],
            notes=[TOO_FEW_CORES] if available_cores() < CORES_FOR_A_RATE else [],
        )
    )
    one, two = broadcasts.values()
    console.print(f"Two are {_rate(two) / _rate(one):.2f} times as fast as one, on {available_cores()} cores.")
    report.conclude(console, [_goal(broadcasts)], goals_to=options.goals_to)


def _row(count: int, runs: list[Broadcast]) -> tuple[str, ...]:
    postgres_us = median(each.used.postgres * 1e6 / each.deliveries for each in runs)
    return str(count), f"{_rate(runs):,.0f}", f"{_cpu_us(runs):,.0f}", f"{postgres_us:,.0f}"


def _goal(broadcasts: dict[int, list[Broadcast]]) -> Goal:
    one, two = broadcasts.values()
    more = _cpu_us(two) / _cpu_us(one) - 1
    what = "CPU of a delivery, two worker processes to one"
    return Goal(what, f"≤ {GOAL_MORE:+.0%}", f"{more:+.0%}", more <= GOAL_MORE)


def _rate(runs: list[Broadcast]) -> float:
    return median(each.rate for each in runs)


def _cpu_us(runs: list[Broadcast]) -> float:
    return median(each.cpu_us for each in runs)


if __name__ == "__main__":
    main()
