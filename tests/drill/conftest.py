"""Fixtures of the drills: one durable PostgreSQL and one push service for all, a fresh database for each.

DRILL_RECIPIENTS (20000) says how many are sent to, DRILL_SEED repeats the random moments of another run.
"""

import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from app.db.embedded import new_scratch_directory
from tests.drill import audience
from tests.drill.push_service import PushService, running_push_service
from tests.drill.service import Say, Service, service_for
from tests.support.databases import StoppablePostgres, running_postgres, temporary_database

RECIPIENTS = int(os.environ.get("DRILL_RECIPIENTS", "20000"))
TEMPLATE = "drill_template"


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """What the random moments come from."""
    return int(os.environ.get("DRILL_SEED") or secrets.randbelow(1_000_000))


@pytest.fixture
def say(pytestconfig: pytest.Config) -> Say:
    """Says a line at once, with the time since the drill began."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    began = time.monotonic()

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"  {time.monotonic() - began:6.1f} s  {line}", flush=True)

    return say


@pytest.fixture(scope="session")
def drill_postgres() -> Iterator[StoppablePostgres]:
    """A server that keeps what it said was committed, however it ends: the real one's settings."""
    with running_postgres(new_scratch_directory(), durable=True) as server:
        yield server


@pytest.fixture(scope="session")
def drill_push_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PushService]:
    with running_push_service(tmp_path_factory.mktemp("push-service")) as push_service:
        yield push_service


@pytest.fixture(scope="session")
def template_with_audience(drill_postgres: StoppablePostgres, drill_push_service: PushService) -> str:
    """The name of a migrated database in which the whole audience is subscribed."""
    audience.database_with(drill_postgres.url, TEMPLATE, drill_push_service, RECIPIENTS)
    return TEMPLATE


@pytest.fixture
def service(
    request: pytest.FixtureRequest,
    drill_postgres: StoppablePostgres,
    drill_push_service: PushService,
    template_with_audience: str,
    tmp_path: Path,
    seed: int,
    say: Say,
) -> Iterator[Service]:
    """A service of the drill's own, with everybody subscribed and no process running."""
    say(f"{request.node.name}: seed {seed}")
    drill_push_service.reset()
    with (
        temporary_database(drill_postgres.url, template=template_with_audience) as url,
        service_for(
            database_url=url,
            push_service=drill_push_service,
            recipients=RECIPIENTS,
            directory=tmp_path,
            random=Random(f"{seed} {request.node.name}"),
            say=say,
        ) as service,
    ):
        yield service
