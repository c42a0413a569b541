"""How many receipts a second one process stores on a core of its own, one in a request and twenty.

Run: python -m tests.benchmark.receipts [--count 4000] [--rounds 3]. Beside it a quarter as many in the way that
suggests itself: a session for each request, and a commit for each receipt. Both are routes of one gunicorn worker,
as it is deployed; PostgreSQL, which keeps what it is given, shares the last core with this client.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil
from sqlalchemy import text

from app.db.session import create_sessions, transaction
from app.delivery.partitions import ensure_partitions
from app.delivery.token import ReceiptTokens
from app.ids import new_id
from app.keyring.service import Keyring
from app.models import DEFAULT_TENANT_ID
from tests.benchmark import progress, report
from tests.benchmark.measuring import ecdh_us
from tests.benchmark.push_service import on_core
from tests.benchmark.report import Goal
from tests.benchmark.usage import cpu_seconds
from tests.support.api import OVERRIDES, SECRET_KEY, launch, wait_until_it_answers
from tests.support.databases import StoppablePostgres, create_database, dispose

PROJECT_ROOT = Path(__file__).parents[2]
GUNICORN = ["gunicorn", "-c", str(PROJECT_ROOT / "docker" / "gunicorn.conf.py")]
APP = "tests.benchmark.naive_receipts:app"
WARM_UP = 1_000
GOAL_RATE = 1_000
TTL_SECONDS = 3600
BATCH_SIZE = 500
MIGRATE = [sys.executable, "-m", "alembic", "upgrade", "head"]


class Kind(NamedTuple):
    """A way to report, to this path: so many in a request, over so many connections.

    `slower`: than ours, by about so many times. It holds a connection to the database for each request, and has 20.
    """

    name: str
    path: str
    at_once: int
    connections: int = 64
    slower: int = 1


KINDS = [
    Kind("group commit", "/receipts/", 1),
    Kind("a commit for each", "/naive-receipts/", 1, connections=16, slower=4),
    Kind("group commit", "/receipts/", 20),
    Kind("a commit for each", "/naive-receipts/", 20, connections=16, slower=4),
]

_ADD = """
    WITH notification AS (
        INSERT INTO push_notifications (
            id, tenant_id, title, body, type, actions, is_broadcast, ttl_seconds, urgency, state, accepted_at,
            planned_count, targeted, finished_at
        )
        VALUES (:id, :tenant_id, 'Hello', 'World', 'general', '[]', true, 3600, 'normal', 'sent', now(), :count,
                :count, now())
        RETURNING id, tenant_id, accepted_at
    ), key AS (
        INSERT INTO push_vapid_keys (id, tenant_id, public_key, private_key_sealed, is_active)
        VALUES (:id, :tenant_id, CAST(CAST(:id AS uuid) AS text), '', false) RETURNING id
    ), batch AS (
        INSERT INTO push_delivery_batches (
            id, tenant_id, notification_id, planned_at, endpoint_host, vapid_key_id, size, state, not_before,
            claimed_at, closed_at, sent_count, delivered_count, failed_count, expired_count
        )
        SELECT gen_random_uuid(), notification.tenant_id, notification.id, notification.accepted_at,
               'fcm.googleapis.com', key.id, 500, 'closed', now(), now(), now(), 500, 0, 0, 0
        FROM notification, key, generate_series(1, :count / 500)
        RETURNING id
    )
    INSERT INTO push_delivery_logs (
        planned_at, notification_id, subscription_id, id, tenant_id, batch_id, status, attempts, deadline, sent_at
    )
    SELECT notification.accepted_at, notification.id, gen_random_uuid(), gen_random_uuid(), notification.tenant_id,
           batch.id, 'sent', 1, now() + interval '1 hour', now()
    FROM notification, batch, generate_series(1, 500)
    RETURNING planned_at, notification_id, CAST(subscription_id AS text)
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """What it took to report so many."""

    receipts: int
    wall_seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        return self.receipts / self.wall_seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_seconds * 1e6 / self.receipts


class Reported:
    """The service with deliveries to report on, each once."""

    def __init__(self, url: str, database_url: str, worker: psutil.Process) -> None:
        self.url = url
        self._database_url = database_url
        self._worker = worker
        self._tokens = ReceiptTokens(Keyring(SECRET_KEY).receipt_key)

    def turn(self, kind: Kind, count: int) -> Turn:
        """Report that so many deliveries were displayed, and check that they are delivered then."""
        tokens = self._deliveries(count)
        parts = (tokens[first : first + kind.at_once] for first in range(0, count, kind.at_once))
        requests = iter([self._request(kind.path, part) for part in parts])
        before, began = cpu_seconds(self._worker), time.perf_counter()
        accepted = asyncio.run(_send_all(self.url, requests, kind.connections))
        turn = Turn(count, time.perf_counter() - began, cpu_seconds(self._worker) - before)
        assert accepted == count, f"{accepted} of {count} were accepted"
        return turn

    def _deliveries(self, count: int) -> list[str]:
        """Store a notification with at least so many deliveries, sent, and return the tokens of so many."""
        sessions = create_sessions(self._database_url, pool_size=1)
        size = -(-count // BATCH_SIZE) * BATCH_SIZE
        with transaction(sessions) as session:
            ensure_partitions(session, datetime.now(UTC))
            rows = session.execute(
                text(_ADD), {"id": new_id(), "tenant_id": DEFAULT_TENANT_ID, "count": size}
            ).all()
        dispose(sessions)
        planned_at, notification_id, _ = rows[0]
        made = self._tokens.make(notification_id, planned_at, TTL_SECONDS, [row[2] for row in rows[:count]])
        return [token.decode() for token in made]

    def _request(self, path: str, tokens: Sequence[str]) -> bytes:
        receipts = [{"token": token, "event": "displayed", "seconds_ago": 0.2} for token in tokens]
        body = json.dumps({"receipts": receipts})
        return (
            f"POST {path} HTTP/1.1\r\nHost: {urlsplit(self.url).netloc}\r\nOrigin: https://blog.example.com\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


def main() -> None:
    options = report.parser("How many receipts a second are stored.", count=4000, rounds=3).parse_args()
    console = report.new_console()
    turns: dict[Kind, list[Turn]] = {kind: [] for kind in KINDS}
    with ExitStack() as stack:
        with console.status("Starting PostgreSQL and gunicorn"):
            service = stack.enter_context(_running())
        say = stack.enter_context(progress.steps(console, len(KINDS) * (options.rounds + 1)))
        for number in range(options.rounds + 1):
            what = progress.round_name(number, options.rounds) if number else "Warming up"
            for kind in KINDS:
                say(f"{what}: {kind.name}, {kind.at_once} in a request")
                count = (options.count if number else WARM_UP) // kind.slower
                turn = service.turn(kind, count)
                if number:
                    turns[kind].append(turn)
    unit = ecdh_us()
    console.print(
        report.table(
            f"POST /receipts/ to one process, on a core of its own; medians of {options.rounds} rounds",
            ("receipts", "in a request", "connections", "receipts/s", "CPU µs each", "in ECDHs"),
            [_row(kind, turns[kind], unit) for kind in KINDS],
            notes=[
                *report.versions(["fastapi", "uvicorn", "gunicorn"]),
                f"{options.count:,} receipts a round",
                f"one ECDH: {unit:.0f} µs",
            ],
        )
    )
    ours, naive = (_rate(turns[kind]) for kind in KINDS[:2])
    goal = Goal(
        "Receipts a second on one core, one in a request",
        f"≥ {GOAL_RATE:,}",
        f"{ours:,.0f} ({ours / naive:.1f} × a commit for each)",
        ours >= GOAL_RATE,
    )
    report.conclude(console, [goal], goals_to=options.goals_to)


def _row(kind: Kind, turns: Sequence[Turn], unit: float) -> tuple[str, ...]:
    cpu_us = median(turn.cpu_us for turn in turns)
    return (
        kind.name,
        str(kind.at_once),
        str(kind.connections),
        f"{_rate(turns):,.0f}",
        f"{cpu_us:,.0f}",
        f"{cpu_us / unit:.1f}",
    )


def _rate(turns: Sequence[Turn]) -> float:
    return median(turn.rate for turn in turns)


@contextmanager
def _running() -> Iterator[Reported]:
    with ExitStack() as stack:
        data_dir = Path(tempfile.mkdtemp(prefix="push-benchmark-"))
        stack.callback(shutil.rmtree, data_dir, ignore_errors=True)
        data_dir.chmod(0o711)  # root's PostgreSQL, which runs as nobody, passes through
        postgres = StoppablePostgres(data_dir, durable=True)
        stack.callback(postgres.delete)
        stack.enter_context(on_core(-1))  # this client, too
        postgres.start()
        url = create_database(postgres.url, "push")
        migrated = {**os.environ, **OVERRIDES, "DATABASE_URL": url}
        subprocess.run(MIGRATE, cwd=PROJECT_ROOT, env=migrated, check=True, capture_output=True)
        with on_core(0):
            variables = {"DATABASE_URL": url, "WEB_CONCURRENCY": "1"}
            server = launch([*GUNICORN, "--bind", "127.0.0.1:{port}", APP], variables, data_dir)
        stack.callback(server.stop)
        wait_until_it_answers(server)
        [worker] = psutil.Process(server.process.pid).children()
        yield Reported(server.url, url, worker)


async def _send_all(url: str, requests: Iterator[bytes], connections: int) -> int:
    accepted = await asyncio.gather(*(_send_what_is_left(url, requests) for _ in range(connections)))
    return sum(accepted)


async def _send_what_is_left(url: str, requests: Iterator[bytes]) -> int:
    """Send one request after the other over a connection, and return how many receipts were accepted."""
    address, accepted = urlsplit(url), 0
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    for request in requests:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        [length] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        body = await reader.readexactly(int(length.partition(b":")[2]))
        assert head.startswith(b"HTTP/1.1 200 "), head + body
        accepted += json.loads(body)["accepted"]
    writer.close()
    await writer.wait_closed()
    return accepted


if __name__ == "__main__":
    main()
