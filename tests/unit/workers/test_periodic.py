import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.orm import sessionmaker
from structlog.testing import capture_logs

from app.db.session import SessionFactory
from app.observability import metrics
from app.workers.periodic import Periodic, next_due

DEADLINE_SECONDS = 60.0


class UndefinedTable(Exception):
    """As the driver raises it before the migrations have run."""

    pgcode = "42P01"


SECRET = "https://fcm.googleapis.com/fcm/send/secret"

sessions: SessionFactory = sessionmaker()


@pytest.fixture
def periodic() -> Iterator[Periodic]:
    runner = Periodic(sessions)
    yield runner
    runner.stop()


class Job:
    """Counts its runs; `wait_for(n)` waits until there were so many."""

    def __init__(self, *errors: Exception) -> None:
        self.sessions: SessionFactory | None = None
        self._errors = list(errors)
        self._runs = threading.Semaphore(0)

    def __call__(self, given: SessionFactory) -> None:
        self.sessions = given
        self._runs.release()
        if self._errors:
            raise self._errors.pop(0)

    def wait_for(self, runs: int) -> None:
        for _ in range(runs):
            assert self._runs.acquire(timeout=DEADLINE_SECONDS)

    def ran_again(self) -> bool:
        return self._runs.acquire(blocking=False)


def failures(job: str) -> float:
    return float(metrics.periodic_job_failures.labels(job=job)._value.get())


def test_a_job_runs_at_the_start_and_at_every_interval(periodic: Periodic) -> None:
    job = Job()
    periodic.add("job", job, interval_seconds=0.01)

    periodic.start()

    job.wait_for(3)
    assert job.sessions is sessions


def test_a_job_that_raises_is_logged_counted_and_run_again(periodic: Periodic) -> None:
    job = Job(RuntimeError("broken"))
    periodic.add("raising", job, interval_seconds=0.01)
    before = failures("raising")

    with capture_logs() as logs:
        periodic.start()
        job.wait_for(2)

    assert [(line["log_level"], line["job"]) for line in logs] == [("error", "raising")]
    assert failures("raising") == before + 1


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (OperationalError("SELECT", {"endpoint": SECRET}, Exception("refused")), "warning"),
        (ProgrammingError("SELECT", {"endpoint": SECRET}, UndefinedTable(SECRET)), "warning"),
        (IntegrityError("INSERT", {"endpoint": SECRET}, Exception(SECRET)), "error"),
    ],
)
def test_a_database_error_is_logged_without_its_text(periodic: Periodic, error: Exception, level: str) -> None:
    job = Job(error)
    periodic.add("database", job, interval_seconds=0.01)

    with capture_logs() as logs:
        periodic.start()
        job.wait_for(2)

    assert [line["log_level"] for line in logs] == [level]
    assert "secret" not in str(logs)


def test_a_slow_job_delays_no_other(periodic: Periodic) -> None:
    release, quick = threading.Event(), Job()

    def slow(_sessions: SessionFactory) -> None:
        release.wait(DEADLINE_SECONDS)

    periodic.add("slow", slow, interval_seconds=0.01)
    periodic.add("quick", quick, interval_seconds=0.01)

    periodic.start()

    quick.wait_for(3)
    release.set()


@pytest.mark.parametrize(("now", "due"), [(100.0, 115.0), (114.9, 115.0), (115.0, 130.0), (170.0, 185.0)])
def test_a_run_longer_than_the_interval_is_not_caught_up(now: float, due: float) -> None:
    assert next_due(100.0, 15.0, now=now) == due


def test_stop_is_quick_while_jobs_wait_and_closes_them_on_their_own_thread() -> None:
    closed_on: list[str] = []
    job = Job()
    periodic = Periodic(sessions)
    periodic.add(
        "hourly", job, interval_seconds=3600, close=lambda: closed_on.append(threading.current_thread().name)
    )
    periodic.start()
    job.wait_for(1)

    started = time.monotonic()
    periodic.stop()

    assert time.monotonic() - started < 30
    assert closed_on == ["periodic-hourly"]
    assert not job.ran_again()


def test_stop_does_not_wait_for_a_job_that_hangs() -> None:
    release, running = threading.Event(), threading.Event()

    def hang(_sessions: SessionFactory) -> None:
        running.set()
        release.wait(DEADLINE_SECONDS)

    periodic = Periodic(sessions)
    periodic.add("hanging", hang, interval_seconds=1)
    periodic.start()
    assert running.wait(DEADLINE_SECONDS)

    with capture_logs() as logs:
        periodic.stop(timeout_seconds=0.05)

    release.set()
    assert [line["log_level"] for line in logs] == ["warning"]


def test_it_can_be_started_again(periodic: Periodic) -> None:
    job = Job()
    periodic.add("job", job, interval_seconds=3600)
    periodic.start()
    job.wait_for(1)
    periodic.stop()

    periodic.start()

    job.wait_for(1)
