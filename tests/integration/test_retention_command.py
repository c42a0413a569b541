"""Retention as it is run: by the workers, one of them at a time, and with `cli retention`."""

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from app import cli
from app.db.session import SessionFactory, database_now, transaction
from app.workers.retention import Retention
from tests.support.retention import Calendar, add, left_of


@pytest.fixture
def days(sessions: SessionFactory) -> Calendar:
    with transaction(sessions) as session:
        return Calendar(database_now(session))


def test_only_one_process_does_it(sessions: SessionFactory, days: Calendar) -> None:
    leading, standing_by = Retention(days.kept_days), Retention(days.kept_days)
    leading(sessions)
    old = add(sessions, days.last_month)

    standing_by(sessions)
    of_another = left_of(sessions, old)["push_delivery_logs"]
    leading(sessions)
    of_the_leader = left_of(sessions, old)["push_delivery_logs"]
    leading.close()
    standing_by.close()

    assert (of_another, of_the_leader) == (7, 0)


@pytest.fixture
def command(database_url: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    return lambda *arguments: CliRunner().invoke(cli.cli, ["retention", *arguments])


def test_the_command_says_what_would_go_and_lets_it_go(
    sessions: SessionFactory, days: Calendar, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOG_RETENTION_DAYS", str(days.kept_days))
    old = add(sessions, days.last_month)

    foretold = command("--dry-run")
    still_there = left_of(sessions, old)["push_delivery_logs"]
    done, again = command(), command()

    expected = "7 deliveries of 1 notifications (1 months as a whole), 1 receipts, 1 skips, 0 subscriptions"
    assert expected in foretold.output
    assert still_there == 7
    assert f"Removed: {expected}" in done.output
    assert "Nothing is older than" in again.output
    assert [result.exit_code for result in (foretold, done, again)] == [0, 0, 0]


def test_the_command_says_when_the_tables_are_not_there(
    empty_database_url: str, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)

    results = [command(), command("--dry-run")]

    assert [result.exit_code for result in results] == [2, 2]
    assert "alembic upgrade head" in results[0].output
