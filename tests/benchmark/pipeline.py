"""What a delivery costs all of our processes, from the request to the last record, beside the peers.

Run: python -m tests.benchmark.pipeline [--count 10000] [--rounds 7]. A broadcast through the API and its embedded
workers on a PostgreSQL of its own, to a sink on loopback; the ledger is checked after each. In turns with it, to
some of the same browsers, the peers, which only post. Each has the first core to itself; PostgreSQL and the sink
share the last one. Trust the CPU columns and the ratios; wall rates swing.
"""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.benchmark import progress, report
from tests.benchmark.measuring import Cost, ecdh_us
from tests.benchmark.peers import Peer, running_peers
from tests.benchmark.push_service import make_subscribers, on_core, sink
from tests.benchmark.report import Goal, Row
from tests.benchmark.service import Broadcast, running_service

GOAL_ECDHS = 3.8
WARM_UP = 1000
MEBIBYTE = 1024**2


@dataclass(frozen=True, slots=True)
class Round:
    """One broadcast of ours, and what each peer that runs here took right after it."""

    ours: Broadcast
    theirs: dict[str, Cost]
    ecdh_us: float


def main() -> None:
    options = report.parser("What a delivery costs all of our processes.", count=10_000, rounds=7).parse_args()
    console = report.new_console()
    with ExitStack() as stack:
        push_service = stack.enter_context(sink(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        stack.enter_context(on_core(0))
        with console.status(f"Making {options.count:,} browsers, starting the service and its peers"):
            subscribers = make_subscribers(push_service, options.count)
            peers = stack.enter_context(running_peers(push_service, subscribers))
            service = stack.enter_context(running_service(push_service, has_a_core=True))
            postgres_version = service.postgres_version
            service.subscribe(subscribers[:WARM_UP])
            service.broadcast()
            service.subscribe(subscribers[WARM_UP:])
        rounds = []
        for number in range(options.rounds + 1):
            what = progress.round_name(number, options.rounds)
            with progress.arrivals(console, f"{what}: ours", options.count, push_service) as told:
                ours = service.broadcast(told)
            with progress.steps(console, len(peers)) as say:
                theirs = {peer.name: cost for peer in peers if (cost := _turn_of(peer, options.count, what, say))}
            rounds.append(Round(ours, theirs, ecdh_us()))
    counted = rounds[1:]
    console.print(
        report.cost_table(
            f"A broadcast to {options.count:,}; medians of {options.rounds} rounds",
            _rows(counted, peers),
            of="what",
            ecdh_us=median(each.ecdh_us for each in counted),
            packages=("pywebpush", "cryptography", "aiohttp", "pycurl"),
            notes=[postgres_version],
        )
    )
    console.print(_in_words(counted))
    report.conclude(console, _goals(counted, peers), goals_to=options.goals_to)


def _turn_of(peer: Peer, count: int, what: str, say: Callable[[str], None]) -> Cost | None:
    say(f"{what}: {peer.name}")
    return None if peer.send is None else peer.send(int(peer.takes * count))


def _rows(rounds: list[Round], peers: list[Peer]) -> list[Row]:
    def ours(cpu_seconds: Callable[[Broadcast], float]) -> float:
        return median(cpu_seconds(each.ours) * 1e6 / each.ours.deliveries for each in rounds)

    return [
        *(_peer_row(rounds, peer) for peer in peers),
        Row(
            "ours, from request to record",
            median(each.ours.rate for each in rounds),
            ours(lambda broadcast: broadcast.used.ours),
        ),
        Row("of that the workers", None, ours(lambda broadcast: broadcast.used.workers)),
        Row("of that the API", None, ours(lambda broadcast: broadcast.used.api)),
        Row("PostgreSQL meanwhile", None, ours(lambda broadcast: broadcast.used.postgres)),
    ]


def _peer_row(rounds: list[Round], peer: Peer) -> Row:
    if peer.send is None:
        return Row(f"{peer.name} ({peer.why_not})", None, None)
    costs = [each.theirs[peer.name] for each in rounds]
    return Row(peer.name, median(cost.rate for cost in costs), median(cost.cpu_us for cost in costs))


def _goals(rounds: list[Round], peers: list[Peer]) -> list[Goal]:
    ecdhs = median(each.ours.cpu_us / each.ecdh_us for each in rounds)
    goals = [
        Goal("CPU of a delivery, all our processes", f"≤ {GOAL_ECDHS} ECDH", f"{ecdhs:.1f}", ecdhs <= GOAL_ECDHS)
    ]
    for peer in peers:
        what, goal = f"less CPU than {peer.name}", f"≥ {peer.goal:g} ×" if peer.goal else "–"
        if peer.send is None:
            goals.append(Goal(what, goal, peer.why_not, None))
            continue
        times = median(each.theirs[peer.name].cpu_us / each.ours.cpu_us for each in rounds)
        goals.append(Goal(what, goal, f"{times:.1f} ×", times >= peer.goal if peer.goal else None))
    return goals


def _in_words(rounds: list[Round]) -> str:
    peak = max(each.ours.peak_worker_bytes for each in rounds) / MEBIBYTE
    answer = median(each.ours.answer_seconds for each in rounds) * 1000
    return f"The request was answered in {answer:.0f} ms, and the largest worker took {peak:.0f} MiB."


if __name__ == "__main__":
    main()
