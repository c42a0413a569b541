"""Runs jobs at intervals, each on a thread of its own, so that a slow one delays no other.

What the jobs do is theirs; which process may do it, leader.py's.
"""

import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from psycopg2.errorcodes import UNDEFINED_TABLE
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

from app.db.session import PASSING_ERRORS, SessionFactory
from app.observability import metrics

Job = Callable[[SessionFactory], None]

STOP_TIMEOUT_SECONDS = 2.0

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _NamedJob:
    name: str
    run: Job
    interval_seconds: float
    first_after_seconds: float
    close: Callable[[], None] | None


class Periodic:
    """Named jobs and their intervals. A job that raises is logged, counted, and run again when its time comes."""

    def __init__(self, sessions: SessionFactory) -> None:
        self._sessions = sessions
        self._jobs: list[_NamedJob] = []
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()

    def add(
        self,
        name: str,
        job: Job,
        *,
        interval_seconds: float,
        first_after_seconds: float = 0.0,
        close: Callable[[], None] | None = None,
    ) -> None:
        """Run `job` at the start and then at every interval, and `close` at the end, all on the same thread.

        `name` becomes a metric's label. What can wait does so for `first_after_seconds`.
        """
        self._jobs.append(_NamedJob(name, job, interval_seconds, first_after_seconds, close))

    def start(self) -> None:
        """Start a thread for each job added so far."""
        self._stopping.clear()
        for job in self._jobs:
            thread = threading.Thread(target=self._repeat, args=(job,), name=f"periodic-{job.name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
        """Run nothing further. A job under way gets until the timeout; then it is left to the process's end."""
        self._stopping.set()
        deadline = time.monotonic() + timeout_seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                log.warning("periodic job still running at stop", job=thread.name)
        self._threads.clear()

    def _repeat(self, job: _NamedJob) -> None:
        due = time.monotonic() + job.first_after_seconds
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            self._run(job)
            due = next_due(due, job.interval_seconds, now=time.monotonic())
        if job.close is not None:
            job.close()

    def _run(self, job: _NamedJob) -> None:
        try:
            job.run(self._sessions)
        except Exception as error:
            metrics.periodic_job_failures.labels(job=job.name).inc()
            _log_failure(job.name, error)


def _log_failure(job: str, error: Exception) -> None:
    kind = type(error).__name__
    if isinstance(error, PASSING_ERRORS):
        log.warning("periodic job waits for the database", job=job, error=kind)
    elif isinstance(error, ProgrammingError) and getattr(error.orig, "pgcode", None) == UNDEFINED_TABLE:
        log.warning("periodic job waits for the tables", job=job, hint="run alembic upgrade head")
    elif isinstance(error, SQLAlchemyError):
        # Its text can hold a statement's parameters: endpoints and keys.
        log.error(
            "periodic job failed", job=job, error=kind, exception="".join(traceback.format_tb(error.__traceback__))
        )
    else:
        log.error("periodic job failed", job=job, exc_info=error)


def next_due(due: float, interval_seconds: float, *, now: float) -> float:
    """Return when a job that was due then is due again. After a run longer than its interval there is no hurry."""
    following = due + interval_seconds
    return following if following > now else now + interval_seconds
