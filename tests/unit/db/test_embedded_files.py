import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from app.db.embedded_files import (
    EmbeddedPostgresUnavailable,
    is_locked,
    is_same_file,
    open_private,
    try_lock,
    unlock,
    wait_for_lock,
    write_private,
)
from tests.support.embedded_clients import PROJECT_ROOT
from tests.support.waiting import until

HOLD = """
import pathlib, sys
from app.db.embedded_files import try_lock
held = try_lock(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "some.lock"


def test_a_private_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    write_private(tmp_path / "password", "sésame\n")

    assert (tmp_path / "password").read_text(encoding="utf-8") == "sésame\n"
    assert stat.S_IMODE((tmp_path / "password").stat().st_mode) == 0o600


def test_a_write_that_fails_leaves_the_old_text_and_nothing_else(tmp_path: Path) -> None:
    write_private(tmp_path / "password", "old")

    with pytest.raises(UnicodeEncodeError):
        write_private(tmp_path / "password", "new \udc80")

    assert (tmp_path / "password").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["password"]


def test_a_lock_has_one_holder(lock: Path) -> None:
    first = try_lock(lock)

    assert first is not None
    assert try_lock(lock) is None
    assert is_locked(lock)


def test_a_shared_lock_has_many_holders_and_excludes_who_wants_it_alone(lock: Path) -> None:
    holders = [try_lock(lock, shared=True) for _ in range(3)]

    assert None not in holders
    assert try_lock(lock) is None


def test_a_lock_given_back_is_free(lock: Path) -> None:
    held = try_lock(lock)
    assert held is not None

    unlock(held)

    assert not is_locked(lock)


def test_a_lock_that_nobody_gives_back_is_not_waited_for_forever(lock: Path) -> None:
    assert try_lock(lock) is not None

    with pytest.raises(EmbeddedPostgresUnavailable, match=r"somebody sleeps.*some\.lock"):
        wait_for_lock(lock, timeout_seconds=0.05, otherwise="somebody sleeps")


def test_a_killed_process_gives_its_locks_back(lock: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, lock],
        env=os.environ | {"PYTHONPATH": str(PROJECT_ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert is_locked(lock)

        holder.kill()

    until(lambda: not is_locked(lock), "the lock is free")


def test_programs_do_not_inherit_a_lock(lock: Path) -> None:
    held = try_lock(lock)
    assert held is not None
    with subprocess.Popen(["sleep", "60"], close_fds=False) as program:
        os.close(held)

        assert not is_locked(lock)
        program.kill()


def test_a_replaced_file_is_not_the_same(lock: Path) -> None:
    held = open_private(lock, os.O_RDWR)
    assert is_same_file(held, lock)

    lock.unlink()
    assert not is_same_file(held, lock)
    os.close(open_private(lock, os.O_RDWR))

    assert not is_same_file(held, lock)
    os.close(held)


def test_the_refusal_says_what_to_do_instead() -> None:
    error = EmbeddedPostgresUnavailable("the disk is full.")

    assert "the disk is full." in str(error)
    assert "Set DATABASE_URL" in str(error)
