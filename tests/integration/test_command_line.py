"""The commands as processes of their own: what they do to a database, and what is left when they end."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from tests.support.api import STOP_TIMEOUT_SECONDS, LiveServer, launch, wait_until_it_answers
from tests.support.databases import alembic_config, temporary_database

PROJECT_ROOT = Path(__file__).parents[2]
END = "-- end --"
SERVE = ["app.cli", "serve", "--port", "{port}"]


def run(arguments: list[str], variables: Mapping[str, str], directory: Path) -> "subprocess.CompletedProcess[str]":
    """Run `python -m` these arguments to the end; its output and its errors are one."""
    return run_python(["-m", *arguments], variables, directory)


def run_python(
    arguments: list[str], variables: Mapping[str, str], directory: Path
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT), "COLUMNS": "80", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )


def alembic(arguments: str, database_url: str) -> "subprocess.CompletedProcess[str]":
    return run(["alembic", *arguments.split()], {"DATABASE_URL": database_url}, PROJECT_ROOT)


def alembic_one_after_another(commands: Sequence[str], database_url: str) -> list[str]:
    """Run these commands in one process, and return what each of them said."""
    program = f"""
from alembic.config import main
for command in {list(commands)}:
    main(command.split(), prog="alembic")
    print("{END}", flush=True)
"""
    finished = run_python(["-c", program], {"DATABASE_URL": database_url}, PROJECT_ROOT)
    assert finished.returncode == 0, finished.stdout
    return finished.stdout.split(f"{END}\n")[:-1]


@pytest.fixture(scope="module")
def served(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveServer, str]]:
    """A `serve` that found an empty database, for the tests that leave it running; and the database's URL."""
    with temporary_database(postgres_url) as url:
        server = launch(SERVE, {"DATABASE_URL": url}, tmp_path_factory.mktemp("serve"))
        try:
            wait_until_it_answers(server, path="/health/live")
            yield server, url
        finally:
            server.stop()


def test_serve_makes_an_empty_database_ready_and_serves_it(served: tuple[LiveServer, str]) -> None:
    server, _ = served

    with urllib.request.urlopen(f"{server.url}/health/", timeout=60) as answer:
        health = json.load(answer)

    assert health["dependencies"]["migrations"]["status"] == "ok"
    assert "Applied 0001" in server.output()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_serve_stops_in_order_when_told_to(database_url: str, tmp_path: Path, how: signal.Signals) -> None:
    server = launch(SERVE, {"DATABASE_URL": database_url}, tmp_path)
    try:
        wait_until_it_answers(server, path="/health/live")

        server.process.send_signal(how)
        server.process.wait(STOP_TIMEOUT_SECONDS)
    finally:
        server.stop()

    assert "Application shutdown complete" in server.output()
    assert "Traceback" not in server.output()


def test_a_second_serve_on_the_port_says_so_and_the_first_goes_on(
    served: tuple[LiveServer, str], tmp_path: Path
) -> None:
    server, database_url = served
    port = server.url.rpartition(":")[2]

    second = run(["app.cli", "serve", "--port", port], {"DATABASE_URL": database_url}, tmp_path)

    wait_until_it_answers(server, path="/health/live")
    assert second.returncode == 1
    assert second.stdout.splitlines() == [
        f"Port {port} is taken. Stop what listens there, or take another: make run PORT={int(port) + 1}"
    ]


def test_alembic_says_what_it_does_and_nothing_when_there_is_nothing_to_do(empty_database_url: str) -> None:
    said = alembic_one_after_another(
        ["upgrade head", "upgrade head", "downgrade base", "-q upgrade head"], empty_database_url
    )

    steps = [step.doc for step in ScriptDirectory.from_config(alembic_config(empty_database_url)).walk_revisions()]
    applied = "".join(f"Applied {step}\n" for step in reversed(steps))
    reverted = "".join(f"Reverted {step}\n" for step in steps)
    assert applied.startswith("Applied 0001: the initial schema.\n")
    assert said == [applied, "", reverted, ""]


def test_alembic_prints_nothing_but_sql_when_asked_for_sql(empty_database_url: str) -> None:
    said = alembic("upgrade head --sql", empty_database_url)

    assert said.returncode == 0
    assert "CREATE TABLE push_subscriptions" in said.stdout
    assert "Applied" not in said.stdout


def test_alembic_tells_a_wrong_address_without_a_traceback() -> None:
    told = alembic("upgrade head", "mysql://root@db/push")

    assert told.returncode != 0
    assert "DATABASE_URL: must be a postgresql:// URL" in told.stdout
    assert "Traceback" not in told.stdout
