"""The service under measurement: a PostgreSQL, an audience in it, the API process and its embedded workers.

All of it in processes and a directory of its own, started as `make run` does, and gone afterwards.
"""

import io
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import psutil
import psycopg2

from app.db.session import create_sessions
from app.delivery import audit
from app.ids import new_id
from app.models import DEFAULT_TENANT_ID, DeliveryStatus
from tests.benchmark.peers import Sink, Subscriber
from tests.support.api import SERVICE_HEADERS, launch, wait_until_it_answers
from tests.support.databases import StoppablePostgres, create_database, dispose

SERVE = ["app.cli", "serve", "--port", "{port}"]
CONTENT = {"title": "New Blog Post", "body": "Check out the latest article", "url": "/blog/latest-post"}
DEADLINE_SECONDS = 300.0
LOOK_EVERY_SECONDS = 0.1
COLUMNS = "id, tenant_id, endpoint, endpoint_hash, endpoint_host, p256dh, auth, vapid_key_id, created_at"


@dataclass(frozen=True, slots=True)
class Processes:
    """CPU seconds used so far, by whom."""

    api: float
    workers: float
    postgres: float

    def __sub__(self, earlier: "Processes") -> "Processes":
        return Processes(self.api - earlier.api, self.workers - earlier.workers, self.postgres - earlier.postgres)


@dataclass(frozen=True, slots=True)
class Broadcast:
    """What one took, from the request until the last outcome was recorded."""

    deliveries: int
    answer_seconds: float
    wall_seconds: float
    used: Processes
    peak_worker_bytes: int


class Service:
    """A running service with nobody subscribed yet."""

    def __init__(self, url: str, database_url: str, pid: int) -> None:
        self._http = httpx.Client(base_url=url, headers=dict(SERVICE_HEADERS), trust_env=False, timeout=30)
        self._database_url = database_url
        self._database = psycopg2.connect(database_url)
        self._database.autocommit = True
        self._api = psutil.Process(pid)
        [postmaster_pid, *_] = str(self._ask("SELECT pg_read_file('postmaster.pid')")[0]).split("\n")
        self._postmaster = psutil.Process(int(postmaster_pid))

    def close(self) -> None:
        self._http.close()
        self._database.close()

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
        before, began = self._cpu(), time.monotonic()
        # Small ones, too, are the workers' then.
        answer = self._http.post("/notifications/broadcast/", json=CONTENT, headers={"Prefer": "respond-async"})
        answer.raise_for_status()
        answered = time.monotonic()
        notification_id = answer.json()["notification_id"]
        peak_bytes = 0
        finished = "SELECT finished_at IS NOT NULL FROM push_notifications WHERE id = %s"
        while not self._ask(finished, notification_id)[0]:
            if time.monotonic() > began + DEADLINE_SECONDS:
                raise TimeoutError(f"not sent within {DEADLINE_SECONDS:g} s")
            peak_bytes = max(peak_bytes, self._largest_worker())
            told()
            time.sleep(LOOK_EVERY_SECONDS)
        ended, used = time.monotonic(), self._cpu() - before
        sent = self._check_the_ledger(notification_id)
        return Broadcast(sent, answered - began, ended - began, used, max(peak_bytes, self._largest_worker()))

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

    def _ask(self, statement: str, *values: object) -> tuple[object, ...]:
        with self._database.cursor() as cursor:
            cursor.execute(statement, values)
            row = cursor.fetchone()
        assert row is not None
        return row

    def _workers(self) -> list[psutil.Process]:
        children: list[psutil.Process] = self._api.children(recursive=True)
        return children

    def _largest_worker(self) -> int:
        return max((worker.memory_info().rss for worker in self._workers()), default=0)

    def _cpu(self) -> Processes:
        return Processes(
            _cpu_seconds(self._api),
            sum(map(_cpu_seconds, self._workers())),
            _cpu_seconds(self._postmaster, with_the_dead=True)
            + sum(map(_cpu_seconds, self._postmaster.children())),
        )


def _cpu_seconds(process: psutil.Process, *, with_the_dead: bool = False) -> float:
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        own = float(times.user + times.system)
        return own + float(times.children_user + times.children_system) if with_the_dead else own
    return 0.0


@contextmanager
def running_service(sink: Sink, **variables: str) -> Iterator[Service]:
    """Start a PostgreSQL that keeps what it is given, and the service on it."""
    data_dir = Path(tempfile.mkdtemp(prefix="push-benchmark-"))
    data_dir.chmod(0o711)  # root's PostgreSQL, which runs as nobody, passes through
    postgres = StoppablePostgres(data_dir, durable=True)
    try:
        postgres.start()
        url = create_database(postgres.url, "push")  # empty: `serve` makes it ready
        own = {"DATABASE_URL": url, "PUSH_CA_FILE": str(sink.ca_file), "WORKER_MODE": "embedded"}
        server = launch(SERVE, own | variables, data_dir)
        try:
            wait_until_it_answers(server)
            with closing(Service(server.url, url, server.process.pid)) as service:
                yield service
        finally:
            server.stop()
    finally:
        postgres.delete()
        shutil.rmtree(data_dir, ignore_errors=True)
