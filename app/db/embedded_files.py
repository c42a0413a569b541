"""Private files of the embedded PostgreSQL, and the locks that tell which of its processes are alive.

A lock here is an `flock`. It belongs to a process and to those forked from it, and the kernel drops it when the
last of them is gone, whatever ended it. So nobody has to believe a pid that was written down before a crash.
"""

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

POLL_SECONDS = 0.01


class EmbeddedPostgresUnavailable(RuntimeError):
    """There is no embedded PostgreSQL to be had here; the message says why, and what to do instead."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The embedded PostgreSQL cannot start: {reason}\n"
            "Set DATABASE_URL to use a PostgreSQL server of your own (14 or later)."
        )
        self.reason = reason


def open_private(path: Path, flags: int) -> int:
    """Open a file that only its owner may read, creating it (mode 0600), and return the descriptor.

    Programs started later do not inherit it. When root creates it in a directory of somebody else, it is theirs.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o600)
    _give_to_owner_of(path.parent, descriptor)
    return descriptor


def write_private(path: Path, text: str) -> None:
    """Write a private file as a whole: a reader, and a crash, find the old text or the new one."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            _give_to_owner_of(path.parent, descriptor)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _give_to_owner_of(directory: Path, descriptor: int) -> None:
    if os.geteuid() == 0:
        owner = directory.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def try_lock(path: Path, *, shared: bool = False) -> int | None:
    """Take the lock and return the descriptor that holds it, or None if somebody else has it.

    Closing the descriptor (all copies of it) gives the lock back.
    """
    descriptor = open_private(path, os.O_RDWR)
    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def wait_for_lock(path: Path, *, timeout_seconds: float, otherwise: str, shared: bool = False) -> int:
    """Like try_lock, but wait for it. Raises EmbeddedPostgresUnavailable (`otherwise`) after the timeout."""
    deadline = time.monotonic() + timeout_seconds
    while (descriptor := try_lock(path, shared=shared)) is None:
        if time.monotonic() > deadline:
            raise EmbeddedPostgresUnavailable(f"{otherwise} (waited {timeout_seconds:.0f} s for {path}).")
        time.sleep(POLL_SECONDS)
    return descriptor


def is_locked(path: Path) -> bool:
    """Say whether somebody holds the lock, shared or not."""
    descriptor = try_lock(path)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


@contextlib.contextmanager
def locked(path: Path, *, timeout_seconds: float, otherwise: str) -> Iterator[None]:
    """Hold the lock for the block. Threads of one process exclude each other too."""
    descriptor = wait_for_lock(path, timeout_seconds=timeout_seconds, otherwise=otherwise)
    try:
        yield
    finally:
        os.close(descriptor)


def unlock(descriptor: int) -> None:
    """Give a lock back at once, also for processes that inherited it by a fork."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def is_same_file(descriptor: int, path: Path) -> bool:
    """Say whether the path still names the open file: it does not once somebody deleted the directory."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
