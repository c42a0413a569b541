"""Which processes share the metrics directory, and what becomes of the files of those that died.

Each process writes files named after its pid. A dead one's counts must stay in the sums (a counter that falls looks
like a restart to Prometheus), but its files must not pile up and its gauges must not outlive it: its counters are
folded into an archive, the files of the pretended pid 0. Once nobody is left, the next to start begins from zero.

A process shows that it lives by holding a lock on `<pid>.alive`. The lock ends with the process, however it ends,
and unlike a pid it is never mistaken for another's.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from app.observability.multiprocess import DIRECTORY, VARIABLE

# isort: split
# Only now: prometheus_client looks for the directory once, when it is imported.
from app.observability.value_files import ReservedFile, use_reserved_files

__all__ = ["DIRECTORY", "enter", "fold_the_dead", "nobody_sweeping"]

ARCHIVE_PID = "0"

_ValueFile: Any = ReservedFile  # prometheus_client's have no type annotations

_own_lock: IO[bytes] | None = None


def enter(directory: Path = DIRECTORY) -> None:
    """Join the processes of this directory, after clearing up behind those that died.

    Raises RuntimeError if another process of the same pid lives there: then two containers share the directory.
    """
    use_reserved_files()
    with _sweeping(directory):
        _sweep(directory)
        _announce(directory)


def fold_the_dead(directory: Path = DIRECTORY) -> None:
    """Fold the files of dead processes into the archive; those who live go on undisturbed."""
    with _sweeping(directory):
        _sweep(directory)


@contextmanager
def nobody_sweeping(directory: Path = DIRECTORY) -> Iterator[None]:
    """Keep the directory's files in place while they are read. Several may read at once."""
    with _locked(directory, fcntl.LOCK_SH):
        yield


@contextmanager
def _sweeping(directory: Path) -> Iterator[None]:
    with _locked(directory, fcntl.LOCK_EX):
        yield


@contextmanager
def _locked(directory: Path, kind: int) -> Iterator[None]:
    with (directory / "lock").open("ab") as file:
        fcntl.flock(file, kind)
        yield


def _announce(directory: Path) -> None:
    """Take this process's lock, unless it holds it already."""
    global _own_lock  # noqa: PLW0603 - held until the process ends, whatever else happens to it
    path = directory / f"{os.getpid()}.alive"
    if _own_lock is not None and _own_lock.name == str(path):
        return
    file = path.open("ab")
    if not _try_lock(file):
        raise RuntimeError(
            f"Another container keeps its metrics in {directory} too. Give each its own: set {VARIABLE}."
        )
    _own_lock = file


def _sweep(directory: Path) -> None:
    living = {path.stem for path in directory.glob("*.alive") if _is_held(path)}
    dead = [path for path in directory.glob("*.db") if _pid_of(path) not in living]
    if living:
        for path in dead:
            if _pid_of(path) != ARCHIVE_PID:
                _fold(path)
    for path in dead:
        if _pid_of(path) != ARCHIVE_PID or not living:
            path.unlink()
    for path in directory.glob("*.alive"):
        if path.stem not in living:
            path.unlink()


def _pid_of(path: Path) -> str:
    return path.stem.rpartition("_")[2]


def _is_held(path: Path) -> bool:
    with path.open("ab") as file:
        return not _try_lock(file)


def _try_lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _fold(path: Path) -> None:
    """Add a dead process's values to the archive: counts are summed, of others the latest is kept."""
    kind = path.stem.rpartition("_")[0]
    if kind.startswith("gauge_live"):
        return
    archive = _ValueFile(str(path.with_name(f"{kind}_{ARCHIVE_PID}.db")))
    try:
        for key, value, timestamp, _ in _ValueFile.read_all_values_from_file(str(path)):
            archived, archived_at = archive.read_value(key)
            if kind == "gauge_mostrecent":
                if timestamp > archived_at:
                    archive.write_value(key, value, timestamp)
            else:
                archive.write_value(key, archived + value, 0.0)
    finally:
        archive.close()


def _after_fork() -> None:
    """A forked child is a process of its own: what it inherited is its parent's sign of life."""
    if _own_lock is not None:
        directory = Path(_own_lock.name).parent
        _own_lock.close()
        _announce(directory)


os.register_at_fork(after_in_child=_after_fork)
