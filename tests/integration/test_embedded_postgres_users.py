"""As whom an embedded PostgreSQL runs, and where that user can reach its files."""

import os
import pwd
import shutil
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.db.embedded_home import SHARED_ROOT
from tests.support.embedded_clients import (
    IS_ROOT,
    Place,
    Runner,
    answers,
    open_directory,
    python_for,
    query,
    started_at,
)
from tests.support.embedded_copies import copy_of_the_binaries, copy_of_the_code, copy_of_the_data, give

needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def closed_directory() -> Iterator[Path]:
    """A directory, such as /root, that only its owner may enter."""
    with open_directory() as directory:
        closed = directory / "closed"
        closed.mkdir()
        closed.chmod(0o700)
        yield closed


@pytest.fixture(scope="module")
def user_home() -> Iterator[Path]:
    """The 0700 home of an ordinary user with a checkout and an environment of its own."""
    with open_directory() as directory:
        home = directory / "home"
        home.mkdir()
        copy_of_the_code(home / "project")
        copy_of_the_binaries(home / "packages")
        if IS_ROOT:
            give(home, pwd.getpwnam("daemon").pw_uid)
        home.chmod(0o700)
        yield home


@pytest.fixture
def user(user_home: Path) -> Runner:
    """Somebody who is not root: daemon if we are root, else we."""
    uid = pwd.getpwnam("daemon").pw_uid if IS_ROOT else os.geteuid()
    return Runner(
        python=python_for(uid),
        project=user_home / "project",
        packages=user_home / "packages",
        uid=uid if IS_ROOT else None,
        environment={"HOME": str(user_home)},
    )


@pytest.fixture
def users_place(user_home: Path, user: Runner, initialised_data_dir: Path) -> Iterator[Place]:
    """The user's checkout, with a database in which `kept` has a row."""
    data_dir = copy_of_the_data(initialised_data_dir, user_home / "project" / ".data", uid=user.uid)
    (data_dir / "postgres").chmod(0o700)
    place = Place(data_dir, user)
    yield place
    place.clear()


@pytest.fixture
def roots_place(initialised_data_dir: Path) -> Iterator[Place]:
    with open_directory() as directory:
        place = Place(copy_of_the_data(initialised_data_dir, directory / "data"), Runner())
        yield place
        place.clear()


def test_an_ordinary_user_keeps_everything_in_the_data_directory(user_home: Path, user: Runner) -> None:
    place = Place(user_home / "project" / "new", user)

    url = place.client().url

    cluster = Path(query(url, "SHOW data_directory"))
    assert cluster == place.data_dir / "postgres" / "cluster"
    assert cluster.stat().st_uid == place.data_dir.stat().st_uid == user_home.stat().st_uid
    assert mode_of(place.data_dir / "postgres") == 0o700
    assert mode_of(user_home) == 0o700
    place.clear()


def test_an_ordinary_users_server_survives_kills_and_ends_with_its_client(users_place: Place) -> None:
    client = users_place.client()
    assert answers(client.url)
    os.kill(users_place.keeper_pid, signal.SIGKILL)
    os.kill(users_place.server_pid, signal.SIGKILL)
    client.kill()

    recovered = users_place.client()
    assert query(recovered.url, "SELECT answer FROM kept") == 42
    recovered.leave()

    users_place.wait_until_stopped()


@needs_root
def test_root_runs_an_ordinary_users_data_as_that_user(users_place: Place, user: Runner) -> None:
    roots = Place(users_place.data_dir, Runner())
    assert query(roots.client().url, "SELECT answer FROM kept") == 42
    assert Path(f"/proc/{roots.server_pid}").stat().st_uid == user.uid
    roots.clear_clients()
    roots.wait_until_stopped()

    url = users_place.client().url

    assert query(url, "SELECT answer FROM kept") == 42


@needs_root
def test_an_ordinary_user_is_told_that_roots_data_is_not_theirs(roots_place: Place, user: Runner) -> None:
    refusal = Place(roots_place.data_dir, user).refusal()

    assert "Permission denied" in refusal
    assert str(roots_place.data_dir) in refusal
    assert "DATABASE_URL" in refusal


@needs_root
def test_roots_server_runs_as_nobody_in_the_data_directory(roots_place: Place) -> None:
    users_before = Path("/etc/passwd").read_bytes()

    url = roots_place.client().url

    cluster = Path(query(url, "SHOW data_directory"))
    assert cluster == roots_place.data_dir.resolve() / "postgres" / "cluster"
    assert cluster.stat().st_uid == pwd.getpwnam("nobody").pw_uid
    assert mode_of(cluster) == 0o700
    assert Path(f"/proc/{roots_place.server_pid}").stat().st_uid == pwd.getpwnam("nobody").pw_uid
    assert Path("/etc/passwd").read_bytes() == users_before


@needs_root
def test_roots_server_below_a_closed_directory_lives_below_var_lib(closed_directory: Path) -> None:
    place = Place(closed_directory / "data", Runner())
    first = place.client()
    start = started_at(first.url)
    shutil.copytree(place.data_dir, closed_directory / "copy")

    second, copys = place.client(), Place(closed_directory / "copy", Runner()).client()

    assert second.url == copys.url == first.url
    assert started_at(copys.url) == start
    assert Path(query(second.url, "SHOW data_directory")).is_relative_to(SHARED_ROOT)
    assert not (place.data_dir / "postgres" / "cluster").exists()
    assert mode_of(closed_directory) == 0o700
    copys.leave()
    place.clear()


@needs_root
def test_programs_that_nobody_can_reach_are_copied_once(roots_place: Place, closed_directory: Path) -> None:
    before = set(SHARED_ROOT.glob("postgresql-*"))
    packages = copy_of_the_binaries(closed_directory / "packages")
    for path in packages.rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)  # as a umask of 077 would have installed it
    place = Place(roots_place.data_dir, Runner(packages=packages))

    url = place.client().url

    assert answers(url)
    assert Path(f"/proc/{place.server_pid}/exe").readlink().is_relative_to(SHARED_ROOT)
    assert not list(SHARED_ROOT.glob(".copying-*"))
    place.clear_clients()
    place.wait_until_stopped()
    for copy in set(SHARED_ROOT.glob("postgresql-*")) - before:
        shutil.rmtree(copy)
