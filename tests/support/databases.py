"""Databases for tests: one server a run, one migrated template on it, and for every test a copy of that.

The server is the embedded one, thrown away at the end, or the one that TEST_DATABASE_URL names (as a user who may
create databases).
"""

import os
import shutil
import signal
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
import pytest
from alembic import command
from alembic.config import Config
from psycopg2.sql import SQL, Identifier
from sqlalchemy import make_url

from app.db.embedded import new_scratch_directory, throwaway
from app.db.embedded_cluster import read_listening
from app.db.embedded_home import locate, prepare_directory
from app.db.embedded_server import Server
from app.db.session import SessionFactory, create_sessions, engine_of

PROJECT_ROOT = Path(__file__).parents[2]

# Hundreds of small databases are copied in a run; since PostgreSQL 18, where the system can do it.
_COPY_IN_THE_KERNEL = """
    SELECT set_config(name, 'clone', false) FROM pg_settings
    WHERE name = 'file_copy_method' AND 'clone' = ANY (enumvals)
"""


def sibling_url(server_url: str, database: str) -> str:
    """Return the URL of another database on the same server, as psycopg2 and SQLAlchemy both take it."""
    url = make_url(server_url).set(drivername="postgresql", database=database)
    return url.render_as_string(hide_password=False)


def create_database(server_url: str, name: str, *, template: str = "template0") -> str:
    """Create a database as a copy of the template, to which nobody may be connected, and return its URL."""
    with _maintenance(server_url) as cursor:
        _create(cursor, name, template)
    return sibling_url(server_url, name)


def drop_database(server_url: str, name: str) -> None:
    """Drop a database and end whatever is connected to it."""
    with _maintenance(server_url) as cursor:
        _drop(cursor, name)


@contextmanager
def temporary_database(server_url: str, *, template: str = "template0") -> Iterator[str]:
    """Create a database for the block and yield its URL. The server may be started anew meanwhile."""
    name = f"push_test_{uuid.uuid4().hex}"
    with _maintenance(server_url) as cursor:
        try:
            _create(cursor, name, template)
            yield sibling_url(server_url, name)
        finally:
            try:
                _drop(cursor, name)
            except psycopg2.OperationalError:  # the server was taken away meanwhile, and given back
                drop_database(server_url, name)


@contextmanager
def _maintenance(server_url: str) -> "Iterator[psycopg2.extensions.cursor]":
    with closing(psycopg2.connect(sibling_url(server_url, "postgres"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


def _create(cursor: "psycopg2.extensions.cursor", name: str, template: str) -> None:
    # PostgreSQL 14 has no other way; later ones copy through the WAL, which costs four times as much for so little.
    strategy = SQL("STRATEGY file_copy" if cursor.connection.server_version >= 150_000 else "")
    cursor.execute(_COPY_IN_THE_KERNEL)
    cursor.execute(
        SQL("CREATE DATABASE {} TEMPLATE {} {}").format(Identifier(name), Identifier(template), strategy)
    )


def _drop(cursor: "psycopg2.extensions.cursor", name: str) -> None:
    cursor.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))


def alembic_config(url: str) -> Config:
    """Return what `alembic.command` wants, for the database at this URL."""
    config = Config(PROJECT_ROOT / "alembic.ini")
    config.attributes["database_url"] = url
    return config


def dispose(sessions: SessionFactory) -> None:
    """Close the pool behind a session factory."""
    engine_of(sessions).dispose()


class StoppablePostgres:
    """A server of a test's own, empty, to take away and give back. Its URL stays the same.

    One that is not `durable` is faster, and forgets its last moments when it is not stopped gently.
    """

    def __init__(self, data_dir: Path, *, durable: bool = False) -> None:
        self._home = locate(prepare_directory(data_dir))
        self._server = Server(self._home, durable=durable)
        self._port: int | None = None

    @property
    def url(self) -> str:
        """Its maintenance database."""
        return (
            f"postgresql://postgres:{self._home.password_file.read_text().strip()}@127.0.0.1:{self._port}/postgres"
        )

    def start(self) -> None:
        self._server.start()
        listening = read_listening(self._home)
        assert listening is not None
        assert self._port in {None, listening.port}, "another program took the server's port meanwhile"
        self._port = listening.port

    def stop(self, *, gently: bool = False) -> None:
        self._server.stop(gently=gently)

    def kill(self) -> None:
        """End the server with kill -9, and wait until the last of its processes has noticed."""
        listening = read_listening(self._home)
        assert listening is not None
        os.kill(listening.pid, signal.SIGKILL)
        self._server.stop(gently=False)

    def delete(self) -> None:
        self.stop()
        shutil.rmtree(self._home.directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The maintenance database of the run's server."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield sibling_url(given, "postgres")
        return
    with throwaway() as url:
        _make_logins_cheap(url)
        yield url


def _make_logins_cheap(server_url: str) -> None:
    """Store the password so that one round of hashing checks it, not 4,096: a run logs in thousands of times."""
    with _maintenance(server_url) as cursor:
        if cursor.connection.server_version >= 160_000:
            cursor.execute("SET scram_iterations = 1")
            cursor.execute("ALTER ROLE postgres PASSWORD %s", (make_url(server_url).password,))


@pytest.fixture(scope="session")
def template_database(postgres_url: str) -> Iterator[str]:
    """The name of a database with all our tables, made by the migrations."""
    name = f"push_template_{uuid.uuid4().hex}"
    try:
        command.upgrade(alembic_config(create_database(postgres_url, name)), "head")
        yield name
    finally:
        drop_database(postgres_url, name)


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    """A database of the test's own without any table."""
    with temporary_database(postgres_url) as url:
        yield url


@pytest.fixture
def database_url(postgres_url: str, template_database: str) -> Iterator[str]:
    """A database of the test's own with all our tables."""
    with temporary_database(postgres_url, template=template_database) as url:
        yield url


@pytest.fixture(scope="module")
def module_database_url(postgres_url: str, template_database: str) -> Iterator[str]:
    """A database with all our tables for all the tests of a file."""
    with temporary_database(postgres_url, template=template_database) as url:
        yield url


@pytest.fixture(scope="module")
def module_sessions(module_database_url: str) -> Iterator[SessionFactory]:
    """A session factory over the database of the test's file."""
    factory = create_sessions(module_database_url)
    yield factory
    dispose(factory)


@pytest.fixture
def sessions(database_url: str) -> Iterator[SessionFactory]:
    """A session factory over the test's own database."""
    factory = create_sessions(database_url)
    yield factory
    dispose(factory)


@pytest.fixture
def other_process(database_url: str) -> Iterator[SessionFactory]:
    """A pool of another process over the same database."""
    factory = create_sessions(database_url)
    yield factory
    dispose(factory)


@contextmanager
def running_postgres(data_dir: Path, *, durable: bool = False) -> Iterator[StoppablePostgres]:
    """Run a server in this directory for the block; both are gone afterwards."""
    server = StoppablePostgres(data_dir, durable=durable)
    try:
        server.start()
        yield server
    finally:
        server.delete()
        shutil.rmtree(data_dir, ignore_errors=True)


@pytest.fixture
def stoppable_postgres() -> Iterator[StoppablePostgres]:
    """A running server of the test's own; `create_database(server.url, ...)` makes something on it."""
    with running_postgres(new_scratch_directory()) as server:
        yield server
