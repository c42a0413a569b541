"""A process starts whatever state its database is in, and prepares it once it can."""

from collections.abc import Callable, Iterator

import psycopg2
import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, ProgrammingError
from structlog.testing import capture_logs

from app import runtime as runtime_module
from app.db.session import create_sessions, transaction
from app.keyring.sealing import CannotUnseal
from app.keyring.service import Keyring, NoActiveKey, active_key
from app.models import DEFAULT_TENANT_ID
from app.push.endpoint import EndpointPolicy
from app.runtime import Runtime
from app.settings import WorkerMode
from app.workers.embedded import EmbeddedWorkers
from tests.support.api import SettingsFactory
from tests.support.databases import alembic_config, create_database, dispose, drop_database, sibling_url
from tests.support.waiting import until

NOT_YET_THERE = "push_test_not_yet_there"
END_THE_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
RuntimeFactory = Callable[[str], Runtime]


@pytest.fixture
def start(make_settings: SettingsFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[RuntimeFactory]:
    """Starts a process's runtime over the database at a URL; stops it after the test."""
    monkeypatch.setattr(runtime_module, "PREPARE_EVERY_SECONDS", 0.05)
    started: list[Runtime] = []

    def start(url: str) -> Runtime:
        settings = make_settings(database_url=url)
        runtime = Runtime(settings, EndpointPolicy(allow_loopback=True))
        runtime.start()
        started.append(runtime)
        return runtime

    yield start
    for runtime in started:
        runtime.stop()


def is_prepared(runtime: Runtime) -> bool:
    """Whether there is a key to subscribe with, and a partition for this month and each of the next two."""
    try:
        with transaction(runtime.sessions) as session:
            active_key(session, DEFAULT_TENANT_ID)
            partitions = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'push_delivery_logs'::regclass"
            return bool(session.scalar(text(partitions)) == 3)
    except (OperationalError, ProgrammingError, NoActiveKey):
        return False


@pytest.mark.parametrize(("mode", "sets"), [(WorkerMode.EMBEDDED, 1), (WorkerMode.EXTERNAL, 0)])
def test_workers_are_started_and_stopped_with_it_unless_they_run_elsewhere(
    make_settings: SettingsFactory,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    mode: WorkerMode,
    sets: int,
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(EmbeddedWorkers, "start", lambda _self: calls.append("start"))
    monkeypatch.setattr(EmbeddedWorkers, "stop", lambda _self: calls.append("stop"))
    runtime = Runtime(make_settings(database_url=database_url, worker_mode=mode), EndpointPolicy())

    runtime.start()
    runtime.stop()

    assert calls == ["start", "stop"] * sets


def test_a_start_prepares_the_database_and_says_what_cannot_be_without_a_site(
    start: RuntimeFactory, database_url: str
) -> None:
    with capture_logs() as logs:
        runtime = start(database_url)

    assert is_prepared(runtime)
    hints = {line["event"]: line["hint"] for line in logs if "hint" in line}
    assert "SITE_URL" in hints["declarative push for absolute URLs only"]


def test_a_database_that_is_not_there_stops_no_start_and_is_prepared_once_it_is(
    start: RuntimeFactory, postgres_url: str, template_database: str
) -> None:
    with capture_logs() as logs:
        runtime = start(sibling_url(postgres_url, NOT_YET_THERE))
    try:
        create_database(postgres_url, NOT_YET_THERE, template=template_database)
        until(lambda: is_prepared(runtime))
    finally:
        drop_database(postgres_url, NOT_YET_THERE)

    assert "database not prepared" in {line["event"] for line in logs}


def test_a_database_without_tables_is_prepared_once_it_is_migrated(
    start: RuntimeFactory, empty_database_url: str
) -> None:
    with capture_logs() as logs:
        runtime = start(empty_database_url)
        command.upgrade(alembic_config(empty_database_url), "head")
        until(lambda: is_prepared(runtime))

    hints = {line["event"]: line["hint"] for line in logs if "hint" in line}
    assert "alembic upgrade head" in hints["database not prepared"]


def test_a_database_that_only_reads_for_now_stops_no_start_and_is_prepared_once_it_writes(
    start: RuntimeFactory, database_url: str
) -> None:
    make_read_only(database_url, "on")
    runtime = start(database_url)
    early = is_prepared(runtime)

    make_read_only(database_url, "off")
    with transaction(runtime.sessions) as session:  # as a failover does
        session.execute(text(END_THE_OTHERS))

    until(lambda: is_prepared(runtime))
    assert not early


def make_read_only(url: str, on_or_off: str) -> None:
    connection = psycopg2.connect(url, options="-c default_transaction_read_only=off")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(
            f'ALTER DATABASE "{connection.info.dbname}" SET default_transaction_read_only TO {on_or_off}'
        )
    connection.close()


def test_a_key_of_another_secret_key_stops_the_start(start: RuntimeFactory, database_url: str) -> None:
    sessions = create_sessions(database_url)
    with transaction(sessions) as session:
        Keyring("another").synchronise(session, None)
    dispose(sessions)

    with pytest.raises(CannotUnseal, match="SECRET_KEY"):
        start(database_url)
