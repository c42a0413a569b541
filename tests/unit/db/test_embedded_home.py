import os
import stat
import subprocess
from pathlib import Path

import pytest

from app.db.embedded_home import SystemUser, locate, prepare_directory
from tests.support.embedded_clients import open_directory

ME = SystemUser()


def test_everything_is_in_the_data_directory() -> None:
    with open_directory() as directory:
        home = locate(prepare_directory(directory / "some" / "data"))

        assert home.directory == home.noted_in == directory.resolve() / "some" / "data" / "postgres"
        assert list(home.directory.iterdir()) == []


def test_the_modes_of_directories_that_are_there_stay() -> None:
    with open_directory() as directory:
        data_dir = directory / "data"
        data_dir.mkdir()
        data_dir.chmod(0o751)

        prepare_directory(data_dir)

        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o751


def test_a_noted_place_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.db.embedded_home.SHARED_ROOT", tmp_path)
    directory = prepare_directory(tmp_path / "data")
    (directory / "location").write_text(f"{tmp_path}/elsewhere\n")

    home = locate(directory)

    assert home.directory == tmp_path / "elsewhere"
    assert home.cluster == tmp_path / "elsewhere" / "cluster"
    assert home.password_file == directory / "password"


def test_programs_do_not_see_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "sesame")
    monkeypatch.setenv("PGPORT", "1")

    status, output = ME.run(["/usr/bin/env"])

    assert status == 0
    assert "sesame" not in output
    assert "PGPORT" not in output
    assert "LC_ALL=C" in output


def test_a_program_that_is_not_there_is_a_status_and_a_reason() -> None:
    status, output = ME.run(["/no/such/program"])

    assert status != 0
    assert "/no/such/program" in output


def test_a_directory_that_is_not_there_cannot_be_entered(tmp_path: Path) -> None:
    assert ME.can_enter(tmp_path)
    assert not ME.can_enter(tmp_path / "nowhere")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_program_as_another_user_has_none_of_roots_groups() -> None:
    with SystemUser(65534, 65534).popen(["/usr/bin/id"]) as process:
        output, _ = process.communicate(timeout=60)

    assert "uid=65534" in output
    assert "(root)" not in output
    assert process.returncode == 0


def test_a_program_has_a_session_of_its_own() -> None:
    with ME.popen(["sleep", "60"], output=subprocess.DEVNULL) as process:
        assert os.getsid(process.pid) == process.pid
        process.kill()
