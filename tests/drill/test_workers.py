"""Worker processes, embedded in the API and apart from it: what they deliver, and how they end."""

import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import func, select

from app.db.session import SessionFactory, transaction
from app.delivery.run import Pipeline
from app.models import BatchState, DeliveryBatch, DeliveryLog, DeliveryStatus
from app.simulator import Simulator
from tests.support.api import SERVICE_HEADERS, LiveServer, LiveServerFactory, launch
from tests.support.children import children_of
from tests.support.delivery import NOTHING_INLINE, SECRET_KEY, Subscriber, finish_with_a_worker, received, send
from tests.support.metric_samples import Samples
from tests.support.ports import free_port
from tests.support.waiting import until

DEADLINE_SECONDS = 90.0
WORKER = "app.workers.process"

Subscribe = Callable[..., list[Subscriber]]
StartWorkers = Callable[[int], LiveServer]


@pytest.fixture
def variables(pipeline: Pipeline, database_url: str, push_ca_file: Path) -> dict[str, str]:
    """What makes a process of the service use the tests' database, keys and push service."""
    return {"DATABASE_URL": database_url, "SECRET_KEY": SECRET_KEY, "PUSH_CA_FILE": str(push_ca_file)}


@pytest.fixture
def start_workers(variables: dict[str, str], tmp_path: Path) -> Iterator[StartWorkers]:
    """`start_workers(2)` runs `python -m app.cli worker` and returns once they work; stopped after the test.

    Its URL is that of its metrics.
    """
    with ExitStack() as stack:

        def start(count: int) -> LiveServer:
            port = free_port()
            ports = {"WORKER_METRICS_PORT": str(port)}
            command = ["app.cli", "worker", "--processes", str(count)]
            launched = launch(command, {**variables, **ports}, tmp_path)
            workers = LiveServer(f"http://127.0.0.1:{port}", launched.process, launched.log_path)
            stack.callback(workers.stop)
            until(lambda: working(workers) == count, "the workers work")
            return workers

        yield start


def scrape(server: LiveServer) -> Samples:
    try:
        with urllib.request.urlopen(f"{server.url}/metrics/", timeout=60) as answer:
            return Samples(answer.read().decode())
    except OSError:  # it is just starting
        return Samples("")


def working(server: LiveServer) -> float:
    return scrape(server).value("push_worker_processes") or 0


def workers_of(server: LiveServer) -> list[psutil.Process]:
    return children_of(server.process.pid, argument=WORKER)


def broadcast(server: LiveServer) -> None:
    answer = httpx.post(
        f"{server.url}/notifications/broadcast/",
        headers=dict(SERVICE_HEADERS),
        json={"title": "Hello", "body": "everybody"},
        timeout=60,
    )
    assert answer.status_code == 202, answer.text


def test_embedded_workers_deliver_what_is_too_large_for_a_request_and_are_replaced_when_killed(
    start_server: LiveServerFactory, variables: dict[str, str], subscribe: Subscribe
) -> None:
    subscribers = subscribe(120)
    server = start_server(WORKER_MODE="embedded", INLINE_MAX_RECIPIENTS="0", **variables)

    broadcast(server)
    until(lambda: received(subscribers) == [1] * 120, "everybody is reached")
    until(lambda: scrape(server).value("push_deliveries_total", verdict="accepted") == 120, "and it is recorded")
    before = working(server)
    victim = workers_of(server)[0]
    victim.kill()
    broadcast(server)
    until(lambda: received(subscribers) == [2] * 120, "everybody is reached by the next worker")
    until(lambda: scrape(server).value("push_deliveries_total", verdict="accepted") == 240, "both workers' counts")

    until(lambda: "worker ended; another follows" in server.output(), "the log tells of the killed one")
    until(lambda: working(server) == len(workers_of(server)) == before, "another has taken its place")
    assert victim.pid not in {each.pid for each in workers_of(server)}
    workers = workers_of(server)
    assert server.stop() in {0, -signal.SIGTERM}
    assert not any(each.is_running() for each in workers)


def test_two_api_processes_have_one_set_and_the_second_takes_over_from_one_that_was_killed(
    start_server: LiveServerFactory, variables: dict[str, str], subscribe: Subscribe, sessions: SessionFactory
) -> None:
    subscribers = subscribe(3)
    first, second = (start_server(WORKER_MODE="embedded", INLINE_MAX_RECIPIENTS="0", **variables) for _ in range(2))
    broadcast(second)
    until(lambda: received(subscribers) == [1] * 3, "the first one's workers hear of it")
    sets = (workers_of(first), workers_of(second))

    first.process.kill()
    first.process.wait()
    _, left = psutil.wait_procs(sets[0], timeout=DEADLINE_SECONDS)
    until(lambda: len(workers_of(second)) == len(sets[0]), "the second has workers")
    broadcast(second)
    until(lambda: received(subscribers) == [2] * 3, "its workers deliver")

    assert sets[0]
    assert sets[1] == []
    assert left == [], "no worker outlives its parent"


def test_workers_told_to_stop_record_what_is_in_flight_and_give_back_the_rest(
    start_workers: StartWorkers, pipeline: Pipeline, push_service: Simulator, subscribe: Subscribe
) -> None:
    subscribers = subscribe(900)
    workers = start_workers(1)
    push_service.delays(3)  # so it takes four rounds of answers until everybody is posted to
    send(pipeline, limits=NOTHING_INLINE)
    until(lambda: push_service.counts.accepted > 0, "the first are reached")

    exit_code = workers.stop()

    push_service.script.clear()
    posted = push_service.counts.accepted
    with transaction(pipeline.sessions) as session:
        recorded = session.scalars(select(func.count()).where(DeliveryLog.status == DeliveryStatus.SENT)).one()
        leased = session.scalars(select(func.count()).where(DeliveryBatch.state == BatchState.LEASED)).one()
    assert exit_code == 0
    assert (0 < recorded < 900, posted, leased) == (True, recorded, 0)
    assert "workers stopped" in workers.output()
    finish_with_a_worker(pipeline)
    assert received(subscribers) == [1] * 900


def test_a_second_ctrl_c_ends_everything_at_once(
    start_workers: StartWorkers, pipeline: Pipeline, push_service: Simulator, subscribe: Subscribe
) -> None:
    [subscriber] = subscribe(1)
    workers = start_workers(2)
    processes = workers_of(workers)
    push_service.hangs()
    send(pipeline, limits=NOTHING_INLINE)
    until(lambda: push_service.counts.posts > 0, "a delivery is in flight")

    workers.process.send_signal(signal.SIGINT)
    until(lambda: "workers finish what is in flight" in workers.output(), "they have heard the first one")
    with pytest.raises(subprocess.TimeoutExpired):
        workers.process.wait(1)
    workers.process.send_signal(signal.SIGINT)
    exit_code = workers.process.wait(DEADLINE_SECONDS)

    assert exit_code == 130
    assert psutil.wait_procs(processes, timeout=DEADLINE_SECONDS)[1] == []
    assert subscriber.log.status == "pending"
