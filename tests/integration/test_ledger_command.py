"""`python -m app.cli ledger`: what an operator reads, what a machine reads, and what the exit code says."""

import json
import threading

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from app import cli
from app.db.session import transaction
from app.delivery import audit
from app.ids import new_id
from tests.support.delivery import NOTHING_INLINE, finish_with_a_worker, send
from tests.support.ledger import add_deliveries, utc

COUNTS = {"pending": 1200, "sent": 3, "failed": 2}
ROUNDS = 5


@pytest.fixture(autouse=True)
def environment(database_url, tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def notification_ids(sessions):
    """Of three notifications, the oldest first."""
    with transaction(sessions) as session:
        return [
            add_deliveries(session, planned_at=utc(2026, 3, day), counts=COUNTS, reason="gone") for day in (1, 2, 3)
        ]


def run(*arguments):
    return CliRunner().invoke(cli.cli, ["ledger", *map(str, arguments)])


def lose_the_failed(sessions, notification_id):
    with transaction(sessions) as session:
        session.execute(
            text("DELETE FROM push_delivery_logs WHERE notification_id = :id AND status = 'failed'"),
            {"id": notification_id},
        )


def line_with(output, words):
    [line] = [line for line in output.splitlines() if words in line]
    return line.split()


def test_a_ledger_that_adds_up_is_told_with_its_figures(notification_ids):
    result = run()

    assert result.exit_code == 0, result.output
    assert line_with(result.output, str(notification_ids[0]))[1:] == [
        *("2026-03-01", "00:00", "sending", "1,205", "1,200", "3", "0", "2", "0", "✓")
    ]
    assert line_with(result.output, "3 notifications")[2:] == ["3,615", "3,600", "9", "0", "6", "0"]
    assert "All adds up" in result.output


def test_what_does_not_add_up_is_told_in_plain_words(sessions, notification_ids):
    lose_the_failed(sessions, notification_ids[0])

    result = run("--limit", 1)

    assert result.exit_code == 1
    assert f"✗ {notification_ids[0]}: 1,205 planned, but 1,203 deliveries in the ledger.\n" in result.output
    assert line_with(result.output, str(notification_ids[0]) + " ")[-1] == "✗"
    assert line_with(result.output, str(notification_ids[2]))[-1] == "✓", "the newest is listed"
    assert str(notification_ids[1]) not in result.output, "those between are not"
    assert "1 of 3 notifications" in result.output


def test_one_notification_is_enough(sessions, notification_ids):
    lose_the_failed(sessions, notification_ids[0])

    assert run(notification_ids[0]).exit_code == 1
    assert run(notification_ids[1]).exit_code == 0


def test_rows_without_a_notification_are_told(sessions, notification_ids):
    with transaction(sessions) as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(text("DELETE FROM push_notifications WHERE id = :id"), {"id": notification_ids[1]})

    result = run()

    assert result.exit_code == 1
    assert f"✗ {notification_ids[1]}: 1,205 deliveries belong to no notification.\n" in result.output
    assert run(notification_ids[1]).exit_code == 1


def test_a_machine_reads_json(sessions, notification_ids):
    lose_the_failed(sessions, notification_ids[2])

    result = run("--json", "--limit", 2)

    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert {name: told[name] for name in ("adds_up", "notifications", "planned", "pending", "sent", "failed")} == {
        **{"adds_up": False, "notifications": 3, "planned": 3615, "pending": 3600, "sent": 9, "failed": 4}
    }
    assert [each["notification_id"] for each in told["newest"]] == [str(each) for each in notification_ids[:0:-1]]
    [wrong] = told["wrong"]
    assert [finding["rule"] for finding in wrong["findings"]] == ["planned_is_the_sum"]


def test_many_faults_are_counted_when_they_are_too_many_to_tell(sessions, notification_ids, monkeypatch):
    monkeypatch.setattr(audit, "MOST_TOLD", 1)
    for notification_id in notification_ids:
        lose_the_failed(sessions, notification_id)

    result = run()

    assert result.exit_code == 1
    assert "✗ 2 more do not add up." in result.output
    assert "3 of 3 notifications" in result.output


def test_a_notification_that_does_not_exist_is_no_proof():
    result = run(new_id())

    assert result.exit_code == 2
    assert "There is no notification" in result.output


def test_what_is_no_notification_id_is_refused():
    assert run("the-latest").exit_code == 2


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("DATABASE_URL", "postgresql://push:a-password@127.0.0.1:1/push", "Connection refused"),
        ("DATABASE_URL", "mysql://push@db/push", "must be a postgresql:// URL"),
    ],
)
def test_without_a_database_it_says_so(monkeypatch, variable, value, told):
    monkeypatch.setenv(variable, value)

    result = run()

    assert result.exit_code == 2
    assert told in result.output
    assert "a-password" not in result.output


def test_a_database_without_tables_is_told(empty_database_url, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", empty_database_url)

    result = run()

    assert result.exit_code == 2
    assert "alembic upgrade head" in result.output


def test_it_adds_up_while_a_worker_sends(pipeline, subscribe):
    subscribe(40)
    notification_ids = [send(pipeline, limits=NOTHING_INLINE).notification.id for _ in range(ROUNDS)]
    worker = threading.Thread(target=finish_with_a_worker, args=(pipeline,))

    results = [run()]
    worker.start()
    while worker.is_alive():
        results.append(run())
    results.append(run())

    assert {result.exit_code for result in results} == {0}
    assert line_with(results[-1].output, str(notification_ids[0]))[4:] == ["40", "0", "40", "0", "0", "0", "✓"]
