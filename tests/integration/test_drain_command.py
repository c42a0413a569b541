"""`python -m app.cli drain`: the mark, what is in flight meanwhile, and who notices it."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from typer.testing import CliRunner

from app import cli, cli_drain
from app.db.session import database_now, transaction
from app.delivery import drain
from app.delivery.bell import Listener
from app.models import BatchState, DeliveryBatch, DeliveryLog, DeliveryStatus, Drain
from app.observability import metrics
from app.workers.database_gauges import DatabaseGauges
from tests.support.ledger import add_deliveries
from tests.support.metric_samples import Samples
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def environment(database_url, tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(cli_drain, "LOOK_EVERY_SECONDS", 0.01)


def run(*arguments):
    return CliRunner().invoke(cli.cli, ["drain", *map(str, arguments)])


@pytest.fixture
def lease(sessions):
    """Let a worker have claimed a batch of 500 deliveries, for so long."""

    def lease(seconds=60):
        with transaction(sessions) as session:
            add_deliveries(session, planned_at=database_now(session), counts={"pending": 500})
            session.execute(
                update(DeliveryBatch).values(
                    state=BatchState.LEASED,
                    lease_token=func.gen_random_uuid(),
                    leased_until=func.now() + timedelta(seconds=seconds),
                )
            )

    return lease


def settle(sessions, count):
    """Let so many deliveries have been sent."""
    with transaction(sessions) as session:
        some = select(DeliveryLog.id).where(DeliveryLog.status == DeliveryStatus.PENDING).limit(count)
        session.execute(
            update(DeliveryLog).where(DeliveryLog.id.in_(some)).values(status=DeliveryStatus.SENT),
            execution_options={"synchronize_session": False},
        )


def marks(sessions):
    with transaction(sessions) as session:
        return [(mark.note, mark.began_at) for mark in session.scalars(select(Drain))]


def test_with_nothing_in_flight_it_is_drained_at_once(sessions):
    result = run("--note", "moving the database")

    assert result.exit_code == 0, result.output
    assert "✓ Nothing is in flight." in result.output
    assert [note for note, _ in marks(sessions)] == ["moving the database"]


def test_it_waits_until_what_is_in_flight_has_come_down(sessions, lease):
    lease()
    results = []
    draining = threading.Thread(target=lambda: results.append(run()))

    draining.start()
    until(lambda: marks(sessions), "the mark is set")
    settle(sessions, 200)
    assert draining.is_alive()
    with transaction(sessions) as session:
        in_flight = drain.in_flight(session)
        session.execute(update(DeliveryBatch).values(state=BatchState.READY, lease_token=None, leased_until=None))
    draining.join()

    assert in_flight == (1, 300)
    assert results[0].exit_code == 0, results[0].output
    assert "In flight: " in results[0].output


def test_at_the_timeout_it_says_what_is_in_flight_and_the_mark_stands(sessions, lease):
    lease()

    result = run("--timeout", 0)

    assert result.exit_code == 1
    assert "In flight: 500 deliveries, in a batch." in result.output
    assert "drain --end" in result.output
    assert marks(sessions)


def test_what_somebody_left_who_died_is_not_waited_for(lease):
    lease(seconds=-1)

    assert run("--timeout", 0).exit_code == 0


def test_draining_again_keeps_the_time_and_the_note(sessions):
    run("--note", "moving the database")
    before = marks(sessions)

    run()

    assert marks(sessions) == before


def test_another_note_replaces_the_first(sessions):
    run("--note", "moving the database")

    run("--note", "almost done")

    assert [note for note, _ in marks(sessions)] == ["almost done"]


def test_ending_it_takes_the_mark_away_and_rings_the_workers(sessions):
    run()
    listener = Listener(sessions)
    assert listener.wait(0), "it has begun to listen"

    result = run("--end")

    assert (result.exit_code, marks(sessions)) == (0, [])
    assert "workers go on" in result.output
    assert listener.wait(60)
    listener.close()
    assert "Nothing was drained" in run("--end").output


def test_status_tells_and_changes_nothing(sessions, lease):
    before = run("--status")
    run("--note", "moving the database")
    lease()

    result = run("--status")

    assert "Not draining. Nothing is in flight." in before.output
    assert "(moving the database). In flight: 500 deliveries, in a batch." in result.output
    assert (before.exit_code, result.exit_code) == (0, 0)


def test_who_waits_is_told_when_somebody_else_ends_it(sessions, lease):
    lease()
    results = []
    draining = threading.Thread(target=lambda: results.append(run()))
    draining.start()
    until(lambda: marks(sessions), "the mark is set")

    with transaction(sessions) as session:  # no second command: two in one process mix up what they print
        drain.end(session)
    draining.join()

    assert results[0].exit_code == 2
    assert "Somebody has ended the drain" in results[0].output


@pytest.mark.parametrize("arguments", [("--end", "--status"), ("--note", "why", "--end")])
def test_what_contradicts_itself_is_refused(sessions, arguments):
    result = run(*arguments)

    assert result.exit_code == 2
    assert marks(sessions) == []


def test_without_a_database_it_says_so(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://push:a-password@127.0.0.1:1/push")

    result = run()

    assert result.exit_code == 2
    assert "Connection refused" in result.output
    assert "a-password" not in result.output


def test_a_database_without_tables_is_told(empty_database_url, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", empty_database_url)

    result = run()

    assert result.exit_code == 2
    assert "alembic upgrade head" in result.output


def test_a_drain_that_was_forgotten_shows_in_the_health(client, sessions):
    with transaction(sessions) as session:
        drain.begin(session, "a name that is nobody's business")

    answer = client.get("/health/")

    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    workers = answer.json()["dependencies"]["workers"]
    assert workers["status"] == "degraded"
    assert "nothing is sent until `python -m app.cli drain --end`" in workers["detail"]
    assert "business" not in answer.text


def test_a_gauge_tells_of_it(sessions):
    def gauge():
        job = DatabaseGauges()
        job.refresh(sessions)
        job.close()
        return Samples(metrics.render()[0].decode()).value("push_draining")

    run()
    meanwhile = gauge()
    run("--end")

    assert (meanwhile, gauge()) == (1, 0)
