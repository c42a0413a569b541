"""The disk under PostgreSQL is full for a while: the service says so, waits, and goes on when there is room again.

Twice: first the tables cannot grow, then the write-ahead log cannot either, which ends PostgreSQL.
"""

import secrets
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from random import Random

import httpx
import psycopg2
import pytest

from app.db.embedded import new_scratch_directory
from tests.drill import audience
from tests.drill.conftest import RECIPIENTS
from tests.drill.processes import Api
from tests.drill.push_service import PushService
from tests.drill.service import Say, Service, service_for
from tests.support.api import SERVICE_HEADERS
from tests.support.databases import StoppablePostgres, running_postgres
from tests.support.full_disk import RefusedWrites, SmallDisk, small_disk

MEGABYTES = 500
MEGABYTES_LEFT = 64  # from the start, so that the rest is filled at once
ANSWERED_AFTER_SECONDS = 0.25  # there is a middle, however fast the machine
WORTH_OF_LOG = "SELECT pg_logical_emit_message(true, 'drill', repeat('x', 4000000)), pg_switch_wal()"
KEYS = {"p256dh": audience.new_p256dh(), "auth": secrets.token_urlsafe(16)}


@pytest.fixture
def mounted() -> Iterator[SmallDisk | None]:
    with small_disk(MEGABYTES) as disk:
        yield disk


@pytest.fixture
def postgres(mounted: SmallDisk | None) -> Iterator[StoppablePostgres]:
    """A durable server on the small disk, or, without one, anywhere."""
    data_dir = mounted.directory if mounted else new_scratch_directory()
    with running_postgres(data_dir, durable=True) as server:
        yield server


@pytest.fixture
def service(
    request: pytest.FixtureRequest,
    postgres: StoppablePostgres,
    drill_push_service: PushService,
    tmp_path: Path,
    seed: int,
    say: Say,
) -> Iterator[Service]:
    say(f"{request.node.name}: seed {seed}")
    drill_push_service.reset()
    with service_for(
        database_url=audience.database_with(postgres.url, "push", drill_push_service, RECIPIENTS),
        push_service=drill_push_service,
        recipients=RECIPIENTS,
        directory=tmp_path,
        random=Random(f"{seed} {request.node.name}"),
        say=say,
    ) as service:
        yield service


def test_a_disk_that_is_full_in_the_middle(
    service: Service, postgres: StoppablePostgres, mounted: SmallDisk | None
) -> None:
    disk = mounted or RefusedWrites(service.database_url)
    if mounted:
        mounted.fill(but_for_megabytes=MEGABYTES_LEFT)
    service.push_service.misbehaves(action="delay", delay_seconds=ANSWERED_AFTER_SECONDS)
    api = service.start_api()
    worker = service.start_worker()
    assert service.broadcast(api).status_code == 202
    service.until_accepted(service.somewhere(0.05, 0.4))
    worker.stop()
    # The rows there are can be written anew without room; those of another broadcast cannot be added.
    assert service.broadcast(api).status_code == 202

    disk.fill()
    refusals: list[httpx.Response] = []
    service.until(lambda: is_refused(subscribe(api), refusals, disk), "a request that stores something is refused")
    worker = service.start_worker()
    service.until(lambda: "planning put off" in worker.output or "for the database" in worker.output, "it waits")
    reading = get(api, "/notifications/history/")
    if mounted:
        service.until(lambda: get(api, "/health/").status_code == 503, "health says it")
        said = get(api, "/health/").json()["dependencies"]["database"]
        service.say(f"health says of the database: {said['status']}. {said['detail']}")
        assert said["status"] == "down"
    at = service.push_service.accepted
    disk.free()
    service.say(f"full after {at:,} messages: {refusals[0].json()['detail']}")
    assert reading.status_code == 200
    assert refusals[0].headers["Content-Type"] == "application/problem+json"
    assert int(refusals[0].headers["Retry-After"]) > 0
    service.until(lambda: subscribe(api).status_code == 201, "it stores again")
    service.until_accepted(at + service.somewhere(0.05, 0.4))

    if mounted:
        exhaust_the_log(postgres, mounted)
        service.until(lambda: is_refused(subscribe(api), refusals, mounted), "requests are refused again")
        service.say(f"PostgreSQL has ended for want of room, after {service.push_service.accepted:,} messages")
        mounted.free()
        postgres.stop()
        postgres.start()
    service.push_service.behaves()
    service.until_finished()

    # Nobody of ours died: what was answered waited in memory, so nobody gets anything twice.
    assert service.account().by_status == {"sent": 2 * service.recipients}
    service.until(lambda: get(api, "/health/").json()["status"] == "ok", "health is well again")


def is_refused(answer: httpx.Response, refusals: list[httpx.Response], disk: SmallDisk | RefusedWrites) -> bool:
    """Whether it is a 503; what still fits into room there was is a 201, and nothing else may be."""
    assert answer.status_code in (201, 503), answer.text
    if answer.status_code == 503:
        refusals.append(answer)
        return True
    disk.fill()
    return False


def subscribe(api: Api) -> httpx.Response:
    """Store something that takes room."""
    endpoint = f"https://127.0.0.1:1/{secrets.token_urlsafe(1400)}"
    return httpx.post(
        f"{api.url}/subscriptions/",
        json={"endpoint": endpoint, "keys": KEYS},
        headers=dict(SERVICE_HEADERS),
        timeout=60,
    )


def get(api: Api, path: str) -> httpx.Response:
    return httpx.get(api.url + path, headers=dict(SERVICE_HEADERS), timeout=60)


def exhaust_the_log(postgres: StoppablePostgres, disk: SmallDisk) -> None:
    """Write to the log until there is no room for it, which PostgreSQL does not survive."""
    with suppress(psycopg2.Error), closing(psycopg2.connect(postgres.url)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        while True:
            disk.fill()
            cursor.execute(WORTH_OF_LOG)
