"""The service under measurement: a PostgreSQL, an audience in it, the API process and its workers.

All of it in processes and a directory of its own, started as its users do, and gone afterwards.
"""

import io
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import psycopg2

from app.db.session import create_sessions
from app.delivery import audit
from app.delivery.bell import CHANNEL
from app.ids import new_id
from app.models import DEFAULT_TENANT_ID, DeliveryStatus
from app.workers.cores import default_worker_count
from tests.benchmark.push_service import Sink, Subscriber, on_core
from tests.benchmark.usage import Processes, Used, postmaster_of
from tests.support.api import SERVICE_HEADERS, LiveServer, launch, wait_until_it_answers
from tests.support.databases import StoppablePostgres, create_database, dispose
from tests.support.ports import free_port
from tests.support.waiting import until

SERVE = ["app.cli", "serve", "--port", "{port}"]
CONTENT = {"title": "New Blog Post", "body": "Check out the latest article", "url": "/blog/latest-post"}
DEADLINE_SECONDS = 120.0
SLOWEST_RATE = 250  # deliveries a second: a broadcast that is slower still has failed
LOOK_EVERY_SECONDS = 0.1
SAID_CHARACTERS = 3000
COLUMNS = "id, tenant_id, endpoint, endpoint_hash, endpoint_host, p256dh, auth, vapid_key_id, created_at"
LISTENERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query = %s"


@dataclass(frozen=True, slots=True)
class Broadcast:
    """What one took, from the request until the last outcome was recorded."""

    deliveries: int
    answer_seconds: float
    wall_seconds: float
    used: Used
    peak_worker_bytes: int

    @property
    def rate(self) -> float:
        return self.deliveries / self.wall_seconds

    @property
    def cpu_us(self) -> float:
        """The CPU of all our processes for each delivery, without PostgreSQL's."""
        return self.used.ours * 1e6 / self.deliveries


class Service:
    """A running service with nobody subscribed yet."""

    def __init__(self, database_url: str, server: LiveServer, workers: LiveServer | None) -> None:
        self.url = server.url
        self._servers = [server] if workers is None else [server, workers]
        self._http = httpx.Client(base_url=self.url, headers=dict(SERVICE_HEADERS), trust_env=False, timeout=30)
        self._database_url = database_url
        self._database = psycopg2.connect(database_url)
        self._database.autocommit = True
        postmaster_pid = postmaster_of(lambda statement: str(self._ask(statement)[0]))
        self._processes = Processes(
            server.process.pid,
            supervisor_pid=None if workers is None else workers.process.pid,
            postmaster_pid=postmaster_pid,
        )

    def close(self) -> None:
        self._http.close()
        self._database.close()

    @property
    def postgres_version(self) -> str:
        """Such as "PostgreSQL 18.1"."""
        return f"PostgreSQL {str(self._ask('SHOW server_version')[0]).split()[0]}"

    def wait_for_workers(self, count: int) -> None:
        """Return once so many worker processes listen for work."""
        until(lambda: self._ask(LISTENERS, f"LISTEN {CHANNEL}")[0] == count, f"{count} workers listen")

    def subscribe(self, subscribers: Sequence[Subscriber]) -> None:
        """Store them all at once."""
        [vapid_key_id] = self._ask("SELECT id FROM push_vapid_keys WHERE is_active")
        lines = io.StringIO()
        for each in subscribers:
            digest = f"\\\\x{sha256(each.endpoint.encode()).hexdigest()}"
            whom = (new_id(), DEFAULT_TENANT_ID, each.endpoint, digest, urlsplit(each.endpoint).netloc)
            lines.write("\t".join(map(str, (*whom, each.p256dh, each.auth, vapid_key_id, "2026-01-01"))) + "\n")
        lines.seek(0)
        with self._database.cursor() as cursor:
            cursor.copy_expert(f"COPY push_subscriptions ({COLUMNS}) FROM STDIN", lines)
            cursor.execute("VACUUM ANALYZE push_subscriptions")

    def broadcast(self, told: Callable[[], None] = lambda: None) -> Broadcast:
        """Send to everybody, wait for the end and check the ledger. `told` is called while it goes on."""
        before, began = self._processes.used(), time.monotonic()
        notification_id = self.begin_a_broadcast()
        answered = time.monotonic()
        [audience] = self._ask("SELECT count(*) FROM push_subscriptions")
        give_up_at = answered + DEADLINE_SECONDS + int(str(audience)) / SLOWEST_RATE
        peak_bytes = 0
        while not self._is_finished(notification_id):
            if time.monotonic() > give_up_at:
                said = "\n".join(server.output()[-SAID_CHARACTERS:] for server in self._servers)
                raise TimeoutError(f"not sent to all {audience} within {give_up_at - began:.0f} s; logs:\n{said}")
            peak_bytes = max(peak_bytes, self._processes.largest_worker_bytes())
            told()
            time.sleep(LOOK_EVERY_SECONDS)
        ended, used = time.monotonic(), self._processes.used() - before
        sent = self._check_the_ledger(notification_id)
        peak_bytes = max(peak_bytes, self._processes.largest_worker_bytes())
        return Broadcast(sent, answered - began, ended - began, used, peak_bytes)

    def begin_a_broadcast(self) -> str:
        """Send to everybody, and return the notification's id when the request is answered."""
        # Small ones, too, are the workers' then.
        answer = self._http.post("/notifications/broadcast/", json=CONTENT, headers={"Prefer": "respond-async"})
        answer.raise_for_status()
        return str(answer.json()["notification_id"])

    def cancel(self, notification_id: str) -> None:
        """Stop what is being sent, and return once all of it is settled."""
        self._http.post(f"/notifications/{notification_id}/cancel").raise_for_status()
        until(lambda: self._is_finished(notification_id), "the cancelled broadcast is settled")

    def _is_finished(self, notification_id: str) -> bool:
        statement = "SELECT finished_at IS NOT NULL FROM push_notifications WHERE id = %s"
        return bool(self._ask(statement, notification_id)[0])

    def _check_the_ledger(self, notification_id: str) -> int:
        sessions = create_sessions(self._database_url, pool_size=1)
        try:
            with audit.snapshot(sessions) as session:
                report = audit.examine(session, only=UUID(notification_id))
        finally:
            dispose(sessions)
        assert report.adds_up, report.wrong or report.strays
        assert report.by_status[DeliveryStatus.SENT] == report.planned, report.by_status
        return report.planned

    def _ask(self, statement: str, *values: object) -> tuple[Any, ...]:
        with self._database.cursor() as cursor:
            cursor.execute(statement, values)
            row = cursor.fetchone()
        assert row is not None
        return row


@contextmanager
def running_service(
    sink: Sink, *, worker_processes: int | None = None, has_a_core: bool = False, **variables: str
) -> Iterator[Service]:
    """Start a PostgreSQL that keeps what it is given, and the service on it, with its workers ready.

    They are embedded, or so many processes of `python -m app.cli worker`. `has_a_core`: the service has the first
    core to itself, with one worker, and PostgreSQL shares the last one with the push service. On one core, each
    would find the processor's cache full of the other's.
    """
    with ExitStack() as stack:
        data_dir = Path(tempfile.mkdtemp(prefix="push-benchmark-"))
        stack.callback(shutil.rmtree, data_dir, ignore_errors=True)
        data_dir.chmod(0o711)  # root's PostgreSQL, which runs as nobody, passes through
        postgres = StoppablePostgres(data_dir, durable=True)
        stack.callback(postgres.delete)
        with on_core(-1) if has_a_core else nullcontext():
            postgres.start()
        url = create_database(postgres.url, "push")  # empty: `serve` makes it ready
        own = {"DATABASE_URL": url, "PUSH_CA_FILE": str(sink.ca_file), **variables}
        with on_core(0) if has_a_core else nullcontext():
            server = launch(SERVE, {**own, "WORKER_MODE": "external" if worker_processes else "embedded"}, data_dir)
        stack.callback(server.stop)
        wait_until_it_answers(server)
        workers = None
        if worker_processes:
            command = ["app.cli", "worker", "--processes", str(worker_processes)]
            directory = data_dir / "workers"
            directory.mkdir()
            workers = launch(command, {**own, "WORKER_METRICS_PORT": str(free_port())}, directory)
            stack.callback(workers.stop)
        service = stack.enter_context(closing(Service(url, server, workers)))
        service.wait_for_workers(worker_processes or (1 if has_a_core else default_worker_count()))
        yield service
