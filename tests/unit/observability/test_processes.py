"""Real processes that share a directory of metrics, started and killed."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.observability import processes
from tests.support.metric_samples import Samples

PROJECT_ROOT = Path(__file__).parents[3]
COUNT_AND_WAIT = """
import sys
from app.observability import metrics

metrics.deliveries.labels(service="fcm", verdict="accepted").inc(int(sys.argv[1]))
metrics.push_request_duration.labels(service="fcm").observe(0.2)
metrics.http_requests_in_flight.inc()
metrics.pending_deliveries.set(int(sys.argv[1]))
print("counted", flush=True)
sys.stdin.read()
"""
FORK_AND_COUNT = """
import os, sys
from app.observability import metrics

metrics.deliveries.labels(service="fcm", verdict="accepted").inc(1)
if os.fork() == 0:
    metrics.deliveries.labels(service="fcm", verdict="accepted").inc(2)
    print("counted", flush=True)
    sys.stdin.read()
os._exit(0)
"""
SCRAPE = "import sys; from app.observability import metrics; sys.stdout.buffer.write(metrics.render()[0])"
FOLD = "from app.observability import processes; processes.fold_the_dead()"

Process = subprocess.Popen[str]
Start = Callable[..., Process]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "metrics"


@pytest.fixture
def start(directory: Path) -> Iterator[Start]:
    """Starts a process that counts deliveries and then waits; it ends when its input does."""
    with ExitStack() as stack:

        def start_counting(deliveries: int = 1, *, script: str = COUNT_AND_WAIT, wait: bool = True) -> Process:
            process = subprocess.Popen(
                [sys.executable, "-c", script, str(deliveries)],
                cwd=PROJECT_ROOT,
                env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(end, process)
            if wait:
                wait_until_counted(process)
            return process

        yield start_counting


def wait_until_counted(process: Process) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "counted\n"


def end(process: Process) -> None:
    process.kill()
    process.communicate()


def run(script: str, directory: Path) -> str:
    """Run a process that joins the others, and return what it wrote."""
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=PROJECT_ROOT,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def accepted(text: str) -> float | None:
    return Samples(text).value("push_deliveries_total", service="fcm", verdict="accepted")


def test_a_scrape_of_any_process_shows_the_sum_of_all(start: Start, directory: Path) -> None:
    start(3)
    start(4)

    scraped = run(SCRAPE, directory)

    assert accepted(scraped) == 7
    assert Samples(scraped).value("push_http_requests_in_flight") == 2


def test_a_killed_process_keeps_its_counts_and_loses_its_gauges(start: Start, directory: Path) -> None:
    start(3)
    killed = start(4)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()

    scraped = Samples(run(SCRAPE, directory))

    assert scraped.value("push_deliveries_total", service="fcm") == 7
    assert scraped.value("push_service_request_duration_seconds_count", service="fcm") == 2
    assert scraped.value("push_http_requests_in_flight") == 1
    assert scraped.value("push_pending_deliveries") == 4, "the last one who knew is dead, but it is still so"


def test_files_of_the_dead_do_not_pile_up(start: Start, directory: Path) -> None:
    start(1)
    for _ in range(2):
        end(start(1))
        run(FOLD, directory)

    counters = list(directory.glob("counter_*.db"))

    assert len(counters) == 2, "of the living, and the archive"
    assert len(list(directory.glob("*.alive"))) <= 2
    assert accepted(run(SCRAPE, directory)) == 3


def test_when_nobody_is_left_the_next_begins_from_zero(start: Start, directory: Path) -> None:
    end(start(5))

    scraped = run(SCRAPE, directory)

    assert accepted(scraped) is None


def test_many_may_start_at_once(start: Start, directory: Path) -> None:
    starting = [start(1, wait=False) for _ in range(5)]
    for process in starting:
        wait_until_counted(process)

    scraped = run(SCRAPE, directory)

    assert accepted(scraped) == 5


def test_a_forked_child_counts_for_itself_and_outlives_its_parent(start: Start, directory: Path) -> None:
    parent = start(script=FORK_AND_COUNT)
    parent.wait()

    scraped = run(SCRAPE, directory)

    assert accepted(scraped) == 3


def test_two_containers_may_not_share_a_directory(tmp_path: Path) -> None:
    with (tmp_path / f"{os.getpid()}.alive").open("ab") as of_another_container:
        fcntl.flock(of_another_container, fcntl.LOCK_EX)

        with pytest.raises(RuntimeError, match="PROMETHEUS_MULTIPROC_DIR"):
            processes.enter(tmp_path)


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    failed = subprocess.run(
        [sys.executable, "-c", SCRAPE],
        cwd=PROJECT_ROOT,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "file" / "metrics")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert f"Metrics cannot be kept in {tmp_path}/file/metrics" in failed.stderr
