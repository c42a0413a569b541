"""The embedded PostgreSQL of development and of tests: a real server whose programs pip brings.

The first process that asks starts it (through a keeper, see embedded_keeper), others attach, and it stops some
seconds after the last of them is gone. Production sets DATABASE_URL and never comes here.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from app.db.embedded_cluster import is_accepting, read_listening
from app.db.embedded_files import (
    POLL_SECONDS,
    EmbeddedPostgresUnavailable,
    is_locked,
    is_same_file,
    locked,
    unlock,
    wait_for_lock,
)
from app.db.embedded_home import Home, locate, prepare_directory
from app.db.embedded_keeper import Orders

__all__ = ["EmbeddedPostgresUnavailable", "database_url", "new_scratch_directory", "throwaway"]

GRACE_SECONDS = 10.0  # more than uvicorn needs to come up after alembic has gone, and than a --reload leaves open
START_TIMEOUT_SECONDS = 180.0
REMOVAL_TIMEOUT_SECONDS = 15.0
MEMORY = Path("/dev/shm")  # nosec B108  # noqa: S108 - not a predictable name: a directory is made in it
MEMORY_WANTED = 2 * 1024**3  # bytes
PROJECT_ROOT = Path(__file__).parents[2]

# The locks that make this process a client, by home. Never closed: they end with the process and its forks.
_registrations: dict[Path, int] = {}


def database_url(data_dir: Path, *, grace_seconds: float = GRACE_SECONDS) -> str:
    """Return the URL of the embedded PostgreSQL kept in `data_dir`, starting it if it does not run.

    This process, and those it forks, are its clients until they exit. A server that was killed, or whose keeper
    was, recovers here. `grace_seconds` is how long it outlives its last client; whoever starts it decides.
    Raises EmbeddedPostgresUnavailable.
    """
    return _attach(Orders(data_dir.absolute(), grace_seconds, throwaway=False))


@contextlib.contextmanager
def throwaway() -> Iterator[str]:
    """Yield the URL of an empty server for tests: fast, because not durable, and deleted afterwards.

    It is deleted too when this process is killed.
    Raises EmbeddedPostgresUnavailable.
    """
    data_dir = new_scratch_directory()
    orders = Orders(data_dir, grace_seconds=0.0, throwaway=True)
    try:
        yield _attach(orders)
    finally:
        with contextlib.suppress(EmbeddedPostgresUnavailable):  # a server left over ends when it misses its files
            _throw_away(orders)
        shutil.rmtree(data_dir, ignore_errors=True)


def new_scratch_directory() -> Path:
    """Create a temporary directory that root's PostgreSQL, which runs as nobody, can enter.

    It is in memory where there is plenty: a database is a thousand files, and a disk takes ten times as long.
    """
    in_memory = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_WANTED
    directory = Path(tempfile.mkdtemp(prefix="push-postgres-", dir=MEMORY if in_memory else None))
    directory.chmod(0o711)
    return directory


def _attach(orders: Orders) -> str:
    if sys.platform == "win32":
        raise EmbeddedPostgresUnavailable("it is made for Linux and macOS, not for Windows.")
    try:
        directory = prepare_directory(orders.data_dir)
        with locked(
            directory / "start.lock",
            timeout_seconds=START_TIMEOUT_SECONDS,
            otherwise="another process did not finish starting it",
        ):
            home = locate(directory)
            with _registered(home):
                port = _running_port(home, orders)
                return f"postgresql://postgres:{_password(home)}@127.0.0.1:{port}/postgres"
    except OSError as error:
        raise EmbeddedPostgresUnavailable(
            f"{orders.data_dir} cannot hold its data ({error}). It must be a directory this user can write to."
        ) from error


@contextlib.contextmanager
def _registered(home: Home) -> Iterator[None]:
    """Make this process a client; but one that was refused a database is none.

    Waits for a server that is just being stopped.
    """
    known = _registrations.get(home.directory)
    if known is not None and is_same_file(known, home.clients_lock):
        yield
        return
    registration = wait_for_lock(
        home.clients_lock,
        shared=True,
        timeout_seconds=START_TIMEOUT_SECONDS,
        otherwise="a server that is being stopped does not end",
    )
    try:
        yield
    except BaseException:
        os.close(registration)
        raise
    _registrations[home.directory] = registration


def _running_port(home: Home, orders: Orders) -> int:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if not is_locked(home.keeper_lock):
            _start_keeper(orders)
        if is_accepting(home) and (listening := read_listening(home)):
            return listening.port
        time.sleep(POLL_SECONDS)
    raise EmbeddedPostgresUnavailable(f"it does not accept connections; see {home.server_log}.")


def _start_keeper(orders: Orders) -> None:
    search_path = [str(PROJECT_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    starting = subprocess.run(
        [sys.executable, "-P", "-m", "app.db.embedded_keeper", *orders.as_arguments()],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,  # Ctrl-C is for the clients
        env=os.environ | {"PYTHONPATH": os.pathsep.join(search_path)},
        timeout=START_TIMEOUT_SECONDS,
    )
    if starting.returncode != 0:
        raise EmbeddedPostgresUnavailable(
            starting.stderr.strip() or f"its keeper ended with {starting.returncode}."
        )


def _password(home: Home) -> str:
    try:
        return home.password_file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise EmbeddedPostgresUnavailable(
            f"{home.password_file} is gone. Put it back, or delete {home.cluster} to begin with an empty database."
        ) from None


def _throw_away(orders: Orders) -> None:
    """Stop being a client and wait until the keeper has deleted everything."""
    home = locate(prepare_directory(orders.data_dir))
    registration = _registrations.pop(home.directory, None)
    if registration is not None:
        unlock(registration)
    deadline = time.monotonic() + REMOVAL_TIMEOUT_SECONDS
    while home.cluster.exists() and time.monotonic() < deadline:
        if not is_locked(home.keeper_lock):  # killed: a new one adopts the server, only to stop it
            _start_keeper(orders)
        time.sleep(POLL_SECONDS)
    shutil.rmtree(home.directory, ignore_errors=True)
