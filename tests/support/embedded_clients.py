"""Client processes of an embedded PostgreSQL, as us or as an ordinary user, for the tests of its life and death."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from app.db.embedded import new_scratch_directory
from app.db.embedded_files import is_locked
from app.db.embedded_home import SHARED_ROOT
from tests.support.waiting import until

PROJECT_ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 120  # a machine that does much else at once is slow, not wrong
IS_ROOT = os.geteuid() == 0
ASK_AND_WAIT = """
import pathlib, sys
from app.db.embedded import EmbeddedPostgresUnavailable, database_url
try:
    print(database_url(pathlib.Path(sys.argv[1]), grace_seconds=float(sys.argv[2])), flush=True)
except EmbeddedPostgresUnavailable as error:
    sys.exit(str(error))
sys.stdin.read()
"""


def query(url: str, statement: str) -> Any:
    """Run one statement in its own connection; return the first column of its first row, if it has any."""
    with closing(psycopg2.connect(url, connect_timeout=60)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None  # type: ignore[index]


def answers(url: str) -> bool:
    try:
        return bool(query(url, "SELECT 1") == 1)
    except psycopg2.OperationalError:
        return False


def started_at(url: str) -> Any:
    """Return what tells one run of a server from the next."""
    return query(url, "SELECT pg_postmaster_start_time()")


@dataclass(frozen=True)
class Runner:
    """How to run Python with our package: as whom, and from which copy of it."""

    python: str = sys.executable
    project: Path = PROJECT_ROOT
    packages: Path | None = None
    uid: int | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def popen(self, script: str, *arguments: object) -> subprocess.Popen[str]:
        search_path = [str(path) for path in (self.project, self.packages, os.environ.get("PYTHONPATH")) if path]
        return subprocess.Popen(
            [self.python, "-c", script, *map(str, arguments)],
            cwd="/",
            env=os.environ | {"PYTHONPATH": os.pathsep.join(search_path)} | self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            user=self.uid,
            group=self.uid and pwd.getpwuid(self.uid).pw_gid,
            extra_groups=None if self.uid is None else [],
            start_new_session=True,
        )

    def run(self, script: str, *arguments: object) -> tuple[str, str]:
        """Run a script to its end and return what it printed and its complaint."""
        with self.popen(script, *arguments) as process:
            return process.communicate(timeout=DEADLINE_SECONDS)


def first_line(process: subprocess.Popen[str]) -> str:
    """Wait for what a script prints first, and fail with its complaint if it prints nothing."""
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline().strip()
    assert line, process.stderr.read()
    return line


class Client:
    """A process that asked for the database and has not left."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._url: str | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def url(self) -> str:
        """The answer it got; waits for it. Raises AssertionError with the refusal."""
        if self._url is None:
            self._url = first_line(self._process)
        return self._url

    def leave(self) -> None:
        self._process.communicate(timeout=DEADLINE_SECONDS)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Signal it and, as a terminal does, all of its process group."""
        os.killpg(self._process.pid, number)
        self._process.communicate(timeout=DEADLINE_SECONDS)


class Place:
    """A data directory, and the clients that the test runs on it."""

    def __init__(self, data_dir: Path, runner: Runner) -> None:
        self.data_dir = data_dir
        self.runner = runner
        self._clients: list[Client] = []

    @property
    def home(self) -> Path:
        """Where locks, logs and cluster are."""
        note = self.data_dir / "postgres" / "location"
        return Path(note.read_text().strip()) if note.exists() else self.data_dir / "postgres"

    @property
    def keeper_pid(self) -> int:
        """The last keeper's, from its log."""
        last = (self.home / "keeper.log").read_text().splitlines()[-1]
        return int(last.split("keeper ")[1].split(":")[0])

    @property
    def server_pid(self) -> int:
        return int((self.home / "cluster" / "postmaster.pid").read_text().split()[0])

    @property
    def cluster_owner(self) -> int:
        return (self.home / "cluster").stat().st_uid

    def client(self, *, grace_seconds: float = 0.0) -> Client:
        client = Client(self.runner.popen(ASK_AND_WAIT, self.data_dir, grace_seconds))
        self._clients.append(client)
        return client

    def refusal(self) -> str:
        """Return what a client that must not get a database is told."""
        answer, complaint = self.runner.run(ASK_AND_WAIT, self.data_dir, 0)
        assert not answer, "it was not refused"
        return complaint

    def is_stopped(self) -> bool:
        return not (is_locked(self.home / "keeper.lock") or is_locked(self.home / "server.lock"))

    def wait_until_stopped(self) -> None:
        until(self.is_stopped, "the server stops")

    def clear_clients(self) -> None:
        """Let all clients leave."""
        for client in self._clients:
            client.leave()
        self._clients.clear()

    def clear(self) -> None:
        """Let all clients leave and delete everything."""
        self.clear_clients()
        home = self.home
        if home.exists():
            if is_locked(home / "server.lock") and not is_locked(home / "keeper.lock"):
                self.client().leave()  # an orphan: a new keeper adopts and stops it
            self.wait_until_stopped()
        if home.is_relative_to(SHARED_ROOT):
            shutil.rmtree(home)
        shutil.rmtree(self.data_dir, ignore_errors=True)


@contextmanager
def open_directory() -> Iterator[Path]:
    """A temporary directory that every user may pass through, unlike pytest's own."""
    directory = new_scratch_directory()
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def initialised_data_dir() -> Iterator[Path]:
    """A data directory with a cluster and, in its database, one row in the table `kept`.

    It is for copying: initdb takes most of a first start.
    """
    with open_directory() as directory:
        place = Place(directory / "data", Runner())
        query(place.client().url, "CREATE TABLE kept AS SELECT 42 AS answer")
        place.clear_clients()
        place.wait_until_stopped()
        yield place.data_dir


@cache
def python_for(uid: int) -> str:
    """Return a Python that this user can run. Ours may be below /root."""
    for python in (sys.executable, "/usr/local/bin/python3", "/usr/bin/python3"):
        try:
            subprocess.run(
                [python, "-c", "import sys; assert sys.version_info >= (3, 11)"],
                check=True,
                capture_output=True,
                user=uid,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    pytest.skip("needs a Python 3.11 that an ordinary user can run")
