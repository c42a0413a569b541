"""A whole service for one drill: a database with an audience, its processes, and the push service they post to."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
from sqlalchemy import select, text

from app.db.session import SessionFactory, create_sessions, transaction
from app.delivery import plan
from app.delivery.payload import topic_of
from app.models import Notification
from app.push.sender import never
from tests.drill.counting import Claims, Tally, tally
from tests.drill.processes import WORKER, Api, Worker
from tests.drill.push_service import Arrival, PushService
from tests.support.api import OVERRIDES, SERVICE_HEADERS
from tests.support.databases import dispose
from tests.support.waiting import until

LONG_SECONDS = 420.0  # of waiting, where the machine may be slow; never what a drill is about

_PENDING = """
    SELECT count(*) FROM push_delivery_logs JOIN push_delivery_batches AS batch ON batch.id = batch_id
    WHERE status = 'pending' AND endpoint_host LIKE :host
"""

_MOVE = """
    WITH one AS (
        SELECT id, :origin || substr(endpoint, length('https://' || :first) + 1) AS endpoint
        FROM push_subscriptions WHERE endpoint_host = :first ORDER BY id LIMIT :count
    ), moved AS (
        UPDATE push_subscriptions AS subscription
        SET endpoint = one.endpoint, endpoint_hash = sha256(convert_to(one.endpoint, 'UTF8')), endpoint_host = :host
        FROM one WHERE subscription.id = one.id RETURNING 1
    )
    SELECT count(*) FROM moved
"""

Say = Callable[[str], None]


@dataclass
class Service:
    """What a drill holds in its hands."""

    database_url: str
    push_service: PushService
    recipients: int
    directory: Path
    random: Random
    say: Say
    sessions: SessionFactory = field(init=False)
    claims: Claims = field(init=False)
    _processes: ExitStack = field(init=False, default_factory=ExitStack)
    _threads: ThreadPoolExecutor = field(init=False, default_factory=lambda: ThreadPoolExecutor(4))
    _started: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.sessions = create_sessions(self.database_url)
        self.claims = Claims(self.sessions)

    def start_api(self, **variables: str) -> Api:
        """Start an API process that leaves everything to workers, unless the variables say otherwise."""
        wanted = {"INLINE_MAX_RECIPIENTS": "0", **variables}
        api = Api(self._variables(wanted), self._new_directory("api"))
        self._processes.callback(api.clean_up)
        return api

    def start_worker(self, *, command: list[str] = WORKER, **variables: str) -> Worker:
        worker = Worker(self._variables(variables), self._new_directory("worker"), command=command)
        self._processes.callback(worker.clean_up)
        return worker

    def run(self, *command: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Run a command of ours to its end."""
        return subprocess.run(
            [sys.executable, "-m", *command],
            input=stdin,
            env={**os.environ, **OVERRIDES, **self._variables({})},
            capture_output=True,
            text=True,
            check=False,
            timeout=LONG_SECONDS,
        )

    def broadcast(self, api: Api, *, headers: Mapping[str, str] | None = None, **content: Any) -> httpx.Response:
        body = {"title": "A drill", "body": "Nobody is to be lost", "ttl": 3600, **content}
        return httpx.post(
            f"{api.url}/notifications/broadcast/",
            json=body,
            headers={**SERVICE_HEADERS, **(headers or {})},
            timeout=LONG_SECONDS,
        )

    def in_the_background(
        self, call: Callable[..., httpx.Response], *arguments: Any, **options: Any
    ) -> "Future[Any]":
        """Make a call whose answer may never come."""
        return self._threads.submit(call, *arguments, **options)

    def notification_ids(self) -> list[UUID]:
        """Return all of them, the oldest first."""
        with transaction(self.sessions) as session:
            return list(session.scalars(select(Notification.id).order_by(Notification.id)))

    def scalar(self, statement: str, **values: Any) -> Any:
        with transaction(self.sessions) as session:
            return session.scalar(text(statement), values)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        until(condition, what, within_seconds=LONG_SECONDS)

    def until_accepted(self, count: int, *, unless: Callable[[], bool] = never) -> None:
        """Return once the push service has accepted so many since the last reset, or something else is the case."""
        self.until(lambda: self.push_service.accepted >= count or unless(), f"{count:,} messages have come")

    def somewhere(self, first: float, last: float) -> int:
        """Return a number of messages at which something is to happen: a random part of the audience."""
        return int(self.random.uniform(first, last) * self.recipients)

    def until_finished(self) -> None:
        """Return once every notification is finished."""
        self.until(self.is_finished, "every notification is finished")

    def is_finished(self) -> bool:
        return bool(self.scalar("SELECT NOT EXISTS (SELECT FROM push_notifications WHERE finished_at IS NULL)"))

    def arrivals(self) -> list[Arrival]:
        """Return what came, of all notifications together."""
        with transaction(self.sessions) as session:
            topics = [topic_of(notification) for notification in session.scalars(select(Notification))]
        return [arrival for topic in topics for arrival in self.push_service.arrivals(topic).values()]

    def assert_the_ledger_adds_up(self) -> None:
        audited = self.run("app.cli", "ledger", "--json", "--limit", "0")
        assert audited.returncode in (0, 1), audited.stderr
        told = json.loads(audited.stdout)
        assert told["adds_up"], (told["wrong"][:5], told["strays"][:5])

    def account(self, *, somebody_died: bool = False, may_be_late: bool = False) -> Tally:
        """Prove the ledger, account for everybody who has a row, and say the result.

        `may_be_late`: what may come twice may also come after its row is final.
        """
        self.assert_the_ledger_adds_up()
        ids = self.notification_ids()
        result = tally(self.sessions, self.push_service, ids, self.claims if somebody_died else None)
        self.say(f"{result}; the ledger adds up")
        if may_be_late:
            result.after_the_end.clear()
        assert result.faults == {}, f"not accounted for: {result.faults}"
        return result

    def pending(self, host: str = "%") -> int:
        """Return how many deliveries are pending, at one push service or at all."""
        return int(self.scalar(_PENDING, host=host))

    def move(self, count: int, origin: str) -> int:
        """Let so many subscriptions of the first push service be at another one, and return how many they are."""
        names = {"first": urlsplit(self.push_service.url).netloc, "host": urlsplit(origin).netloc}
        return int(self.scalar(_MOVE, count=count, origin=origin, **names))

    def plan(self, notification_id: str) -> list[UUID]:
        """Plan a notification here and now, and return its batches."""
        batch_ids: list[UUID] = []
        is_last = False
        while not is_last:
            with transaction(self.sessions) as session:
                page = plan.plan_page(session, UUID(notification_id))
            batch_ids += page.batch_ids
            is_last = page.is_last
        return batch_ids

    def clean_up(self) -> None:
        self._processes.close()
        self._threads.shutdown(cancel_futures=True)
        dispose(self.sessions)

    def _variables(self, variables: Mapping[str, str]) -> dict[str, str]:
        ca_file = str(self.push_service.ca_file)
        return {"DATABASE_URL": self.database_url, "PUSH_CA_FILE": ca_file, **variables}

    def _new_directory(self, name: str) -> Path:
        self._started += 1
        return self.directory / f"{self._started:02}-{name}"


@contextmanager
def service_for(**parts: Any) -> Iterator[Service]:
    """Return a service over these parts, whose processes are gone after the `with`."""
    service = Service(**parts)
    try:
        yield service
    finally:
        service.clean_up()
