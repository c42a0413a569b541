"""How long subscribing takes, idle and beside a broadcast that is held to a rate: the 95th percentile.

Run: python -m tests.benchmark.api [--count 1000] [--rounds 3]. New browsers subscribe over a few connections, each
its next one as soon as it is answered, so that the API process is never idle; by turns with nothing else to do, and
while the service sends 1,000 messages a second. Everything shares the cores, this client, too.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import urlsplit

from tests.benchmark import progress, report
from tests.benchmark.push_service import Sink, make_subscribers, sink
from tests.benchmark.report import Goal
from tests.benchmark.service import Service, running_service
from tests.support.api import make_token
from tests.support.waiting import until

CONNECTIONS = 4
AUDIENCE = 30_000  # more than are sent to while we look
PER_SECOND = 1_000
WELL_UNDER_WAY = 2_000  # messages
WARM_UP = 300
GOAL_TIMES = 2.0
NO_LIMIT = "100000000/hour"


@dataclass(frozen=True, slots=True)
class Turn:
    """The requests of one turn: how long each took, and what the push service accepted meanwhile."""

    seconds: list[float]
    wall_seconds: float
    messages: int

    @property
    def p95_ms(self) -> float:
        return quantiles(self.seconds, n=20)[-1] * 1000

    @property
    def median_ms(self) -> float:
        return median(self.seconds) * 1000


def main() -> None:
    options = report.parser("How long subscribing takes.", count=1000, rounds=3).parse_args()
    console = report.new_console()
    idle, beside = [], []
    with ExitStack() as stack:
        push_service = stack.enter_context(sink(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        with console.status(f"Making {AUDIENCE:,} browsers and starting the service"):
            service = stack.enter_context(
                running_service(push_service, PUSH_MAX_PER_SECOND=str(PER_SECOND), RATE_LIMIT_SUBSCRIPTION=NO_LIMIT)
            )
            service.subscribe(make_subscribers(push_service, AUDIENCE))
        say = stack.enter_context(progress.steps(console, 2 * options.rounds + 1))
        say("Warming up")
        _turn(service, push_service, WARM_UP)
        for number in range(1, options.rounds + 1):
            what = progress.round_name(number, options.rounds)
            say(f"{what}: idle")
            idle.append(_turn(service, push_service, options.count))
            say(f"{what}: beside a broadcast")
            before = push_service.accepted
            notification_id = service.begin_a_broadcast()
            until(lambda: push_service.accepted - before >= WELL_UNDER_WAY, "the broadcast is under way")  # noqa: B023 - asked at once
            beside.append(_turn(service, push_service, options.count))
            service.cancel(notification_id)
    console.print(
        report.table(
            f"POST /subscriptions/ by {CONNECTIONS} connections; medians of {options.rounds} rounds",
            ("beside it", "requests/s", "median ms", "95th percentile ms", "messages/s meanwhile"),
            [_row("nothing", idle), _row(f"a broadcast held to {PER_SECOND:,} a second", beside)],
            notes=[*report.versions(["fastapi", "uvicorn"]), f"{options.count:,} requests a round"],
        )
    )
    times = median(turn.p95_ms for turn in beside) / median(turn.p95_ms for turn in idle)
    goal = Goal(
        "95th percentile of POST /subscriptions/ beside a broadcast, to idle",
        f"< {GOAL_TIMES:g} ×",
        f"{times:.1f} ×",
        times < GOAL_TIMES,
    )
    report.conclude(console, [goal], goals_to=options.goals_to)


def _turn(service: Service, push_service: Sink, count: int) -> Turn:
    requests = iter(list(_requests(service, push_service, count)))
    before, began = push_service.accepted, time.perf_counter()
    seconds = asyncio.run(_send_all(service, requests))
    wall_seconds = time.perf_counter() - began
    return Turn(seconds, wall_seconds, push_service.accepted - before)


def _requests(service: Service, push_service: Sink, count: int) -> Iterator[bytes]:
    """Yield requests that subscribe new browsers, each that of a user."""
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    for number, subscriber in enumerate(make_subscribers(push_service, count)):
        token = make_token(user_id=str(number), token_type="access", exp=expires_at)
        keys = {"p256dh": subscriber.p256dh, "auth": subscriber.auth}
        body = json.dumps(
            {"endpoint": subscriber.endpoint, "expirationTime": None, "keys": keys, "topics": ["blog"]}
        )
        yield (
            f"POST /subscriptions/ HTTP/1.1\r\nHost: {urlsplit(service.url).netloc}\r\n"
            f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


async def _send_all(service: Service, requests: Iterator[bytes]) -> list[float]:
    turns = await asyncio.gather(*(_send_what_is_left(service, requests) for _ in range(CONNECTIONS)))
    return [seconds for turn in turns for seconds in turn]


async def _send_what_is_left(service: Service, requests: Iterator[bytes]) -> list[float]:
    """Send one request after the other over a connection, and return how long each took to be answered."""
    address, took = urlsplit(service.url), []
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    for request in requests:
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(_content_length(head))
        took.append(time.perf_counter() - began)
        assert head.startswith(b"HTTP/1.1 201 "), head
    writer.close()
    await writer.wait_closed()
    return took


def _content_length(head: bytes) -> int:
    [length] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(length.partition(b":")[2])


def _row(name: str, turns: list[Turn]) -> tuple[str, ...]:
    return (
        name,
        f"{median(len(turn.seconds) / turn.wall_seconds for turn in turns):,.0f}",
        f"{median(turn.median_ms for turn in turns):.1f}",
        f"{median(turn.p95_ms for turn in turns):.1f}",
        f"{median(turn.messages / turn.wall_seconds for turn in turns):,.0f}",
    )


if __name__ == "__main__":
    main()
