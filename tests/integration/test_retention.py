"""What is too old goes, its counts stay, and nothing is lost wherever that breaks off."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from app import cli
from app.analytics.period import Period
from app.analytics.service import delivery_statistics
from app.db.session import SessionFactory, database_now, transaction
from app.delivery import audit, retention
from app.delivery.partitions import month_of, partition_of, stored_months
from app.delivery.retention import Removed, clean_up, preview
from app.ids import new_id
from app.models import (
    DEFAULT_TENANT_ID,
    DeliveryBatch,
    DeliveryLog,
    Notification,
    NotificationState,
    Quarantine,
    Receipt,
    Skip,
    Subscription,
)
from app.notifications import repository as notifications
from app.workers.retention import Retention
from tests.support.ledger import FCM, add_deliveries, add_notification, add_subscription

COUNTS = {"sent": 4, "failed": 2, "expired": 1}


class Calendar:
    """Days around the one that retention begins at, which is in the middle of a month."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        fourth_month_before = now.year * 12 + now.month - 1 - 4
        middle = now.replace(year=fourth_month_before // 12, month=fourth_month_before % 12 + 1, day=15)
        self.kept_days = (now - middle).days
        self.just_too_old = middle - timedelta(days=2)
        self.just_kept = middle + timedelta(days=2)
        self.last_month = month_of(middle)[0] - timedelta(days=3)


@pytest.fixture
def days(sessions: SessionFactory) -> Calendar:
    with transaction(sessions) as session:
        return Calendar(database_now(session))


def add(sessions: SessionFactory, planned_at: datetime, **counts: int) -> UUID:
    """Store a notification of that moment, a receipt and a skip of it; return its id."""
    with transaction(sessions) as session:
        counts = counts or COUNTS
        notification_id = add_deliveries(session, planned_at=planned_at, counts=counts, reason="gone")
        values = {"tenant_id": DEFAULT_TENANT_ID, "notification_id": notification_id, "subscription_id": new_id()}
        session.add(
            Receipt(id=new_id(), planned_at=planned_at, event="displayed", occurred_at=planned_at, **values)
        )
        session.add(Skip(reason="quiet", **values))
    return notification_id


def adds_up(sessions: SessionFactory) -> bool:
    with audit.snapshot(sessions) as session:
        return audit.examine(session).adds_up


def counts_of(sessions: SessionFactory, *notification_ids: UUID) -> list[dict[str, int]]:
    with transaction(sessions) as session:
        rows = [session.get_one(Notification, each) for each in notification_ids]
        counts = notifications.counts_of(session, rows)
        return [counts[each] for each in notification_ids]


def left_of(sessions: SessionFactory, notification_id: UUID) -> dict[str, int]:
    """Return how many rows there are about a notification, by table."""
    with transaction(sessions) as session:
        return {
            table.__tablename__: session.scalars(
                select(func.count()).select_from(table).where(table.notification_id == notification_id)
            ).one()
            for table in (DeliveryLog, Receipt, Skip, DeliveryBatch)
        }


def has_month(sessions: SessionFactory, moment: datetime) -> bool:
    with transaction(sessions) as session:
        return month_of(moment)[0] in stored_months(session)


def statistics(sessions: SessionFactory, days: Calendar) -> Any:
    with transaction(sessions) as session:
        period = Period(days.last_month - timedelta(days=40), days.now)
        return delivery_statistics(session, DEFAULT_TENANT_ID, period=period, notification_type=None, now=days.now)


def in_history(sessions: SessionFactory, status: str) -> set[UUID]:
    with transaction(sessions) as session:
        rows, _ = notifications.history(session, DEFAULT_TENANT_ID, offset=0, limit=50, type_=None, status=status)
        return {row.id for row in rows}


NOTHING = {"push_delivery_logs": 0, "push_receipts": 0, "push_skips": 0, "push_delivery_batches": 0}


def test_what_is_too_old_goes_and_its_counts_stay(sessions: SessionFactory, days: Calendar) -> None:
    old, older = add(sessions, days.just_too_old), add(sessions, days.last_month, sent=3)
    kept = add(sessions, days.just_kept)
    before = counts_of(sessions, old, older, kept)
    with transaction(sessions) as session:
        foretold = preview(session, kept_days=days.kept_days)

    removed = clean_up(sessions, kept_days=days.kept_days)
    again = clean_up(sessions, kept_days=days.kept_days)

    assert removed == foretold == Removed(notifications=2, deliveries=10, months=1, receipts=2, skips=2)
    assert again == Removed()
    assert left_of(sessions, old) == left_of(sessions, older) == NOTHING
    assert left_of(sessions, kept)["push_delivery_logs"] == 7
    assert counts_of(sessions, old, older, kept) == before == [COUNTS, {"sent": 3}, COUNTS]
    assert (has_month(sessions, days.last_month), has_month(sessions, days.just_too_old)) == (False, True)
    assert adds_up(sessions)


def test_statistics_and_the_history_still_know_what_is_gone(sessions: SessionFactory, days: Calendar) -> None:
    old, older = add(sessions, days.just_too_old), add(sessions, days.last_month, sent=3)
    add(sessions, days.just_kept)
    before = statistics(sessions, days)

    clean_up(sessions, kept_days=days.kept_days)

    after = statistics(sessions, days)
    assert (after.total, after.sent, after.failed, after.by_day) == (17, 11, 4, before.by_day)
    assert after.by_type == before.by_type
    assert {row.push_service: row.total for row in after.by_push_service} == {FCM: 7, "unknown": 10}
    assert {(row.status, row.reason): row.count for row in after.by_reason} == {
        ("failed", "gone"): 2,
        ("expired", "gone"): 1,
        ("failed", "unknown"): 2,
        ("expired", "unknown"): 1,
    }
    assert (old in in_history(sessions, "failed"), older in in_history(sessions, "failed")) == (True, False)


def test_what_is_not_finished_keeps_all_it_has(sessions: SessionFactory, days: Calendar) -> None:
    unfinished = add(sessions, days.last_month, sent=2, pending=1)
    finished = add(sessions, days.last_month)
    before = left_of(sessions, unfinished)

    removed = clean_up(sessions, kept_days=days.kept_days)

    assert (removed.notifications, removed.months) == (1, 0)
    assert left_of(sessions, unfinished) == before
    assert left_of(sessions, finished) == NOTHING
    assert counts_of(sessions, unfinished, finished) == [{"sent": 2, "pending": 1}, COUNTS]
    assert adds_up(sessions)


def test_one_that_waits_for_its_planning_keeps_its_month(sessions: SessionFactory, days: Calendar) -> None:
    add(sessions, days.last_month)
    with transaction(sessions) as session:
        add_notification(session, state=NotificationState.PLANNING, accepted_at=days.last_month)

    removed = clean_up(sessions, kept_days=days.kept_days)

    assert (removed.deliveries, removed.months) == (7, 0)
    assert has_month(sessions, days.last_month)


def test_one_that_waits_for_its_time_does_not(sessions: SessionFactory, days: Calendar) -> None:
    add(sessions, days.last_month)
    with transaction(sessions) as session:
        state = NotificationState.SCHEDULED
        add_notification(session, state=state, accepted_at=days.last_month, scheduled_at=days.now)

    removed = clean_up(sessions, kept_days=days.kept_days)

    assert removed.months == 1


def test_a_ledger_that_does_not_add_up_is_left_to_look_at(sessions: SessionFactory, days: Calendar) -> None:
    wrong = add(sessions, days.last_month)
    with transaction(sessions) as session:
        session.execute(update(Notification).where(Notification.id == wrong).values(planned_count=8, targeted=8))

    removed = clean_up(sessions, kept_days=days.kept_days)

    assert removed == Removed()
    assert left_of(sessions, wrong)["push_delivery_logs"] == 7
    assert not adds_up(sessions)


class Killed(Exception):
    """The process ends here."""


@pytest.fixture
def killed_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let a run end after so many of its transactions."""

    def kill_after(commits: int) -> None:
        left = [commits]

        @contextmanager
        def mortal(sessions: SessionFactory) -> Iterator[Session]:
            if not left[0]:
                raise Killed
            left[0] -= 1
            with transaction(sessions) as session:
                yield session

        monkeypatch.setattr(retention, "transaction", mortal)

    return kill_after


def test_nothing_is_lost_wherever_it_breaks_off(
    sessions: SessionFactory,
    days: Calendar,
    killed_after: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention, "ROWS_AT_ONCE", 3)
    ids = [add(sessions, days.just_too_old), add(sessions, days.last_month, sent=5)]
    ids.append(add(sessions, days.just_kept))
    before, states, has_ended = counts_of(sessions, *ids), [], False

    for commits in range(200):
        killed_after(commits)
        with suppress(Killed):
            clean_up(sessions, kept_days=days.kept_days)
            has_ended = True
        states.append((adds_up(sessions), counts_of(sessions, *ids) == before))
        if has_ended:
            break

    assert len(states) > 10
    assert set(states) == {(True, True)}
    assert [left_of(sessions, each) == NOTHING for each in ids] == [True, True, False]


def test_two_at_once_do_each_other_no_harm(
    sessions: SessionFactory, days: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [add(sessions, moment) for moment in (days.last_month, days.last_month, days.just_too_old)]
    freeze, others = retention.freeze, []

    def freeze_after_another_run(*arguments: Any) -> int | None:
        if not others:
            others.append(Removed())
            others[0] = clean_up(sessions, kept_days=days.kept_days)
        return freeze(*arguments)

    monkeypatch.setattr(retention, "freeze", freeze_after_another_run)

    removed = clean_up(sessions, kept_days=days.kept_days)

    assert (others[0].months, removed.months) == (1, 0)
    assert counts_of(sessions, *ids) == [COUNTS] * 3
    assert all(left_of(sessions, each) == NOTHING for each in ids)


def test_a_month_that_somebody_reads_is_dropped_by_the_next_run(sessions: SessionFactory, days: Calendar) -> None:
    old = add(sessions, days.last_month)
    with transaction(sessions) as session:
        session.execute(text(f"SELECT count(*) FROM {partition_of(days.last_month)}"))
        first = clean_up(sessions, kept_days=days.kept_days)
    counts = counts_of(sessions, old)

    second = clean_up(sessions, kept_days=days.kept_days)

    assert (first.months, second.months) == (0, 1)
    assert counts == counts_of(sessions, old) == [COUNTS]
    assert adds_up(sessions)


@pytest.mark.parametrize("mark", ["gone_at", "deleted_at"])
def test_subscriptions_go_when_they_were_gone_or_deleted_for_thirty_days(
    sessions: SessionFactory, days: Calendar, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ROWS_AT_ONCE", 2)

    def one(session: Session, days_ago: int, quarantine_id: UUID | None = None) -> UUID:
        created = days.now - timedelta(days=100)
        marked = {mark: days.now - timedelta(days=days_ago)}
        subscription_id = add_subscription(session, created_at=created, **marked)
        session.execute(
            update(Subscription).where(Subscription.id == subscription_id).values(quarantine_id=quarantine_id)
        )
        return subscription_id

    with transaction(sessions) as session:
        alive = add_subscription(session, created_at=days.now - timedelta(days=100))
        key_id = session.get_one(Subscription, alive).vapid_key_id
        quarantines = [
            Quarantine(
                **{"id": new_id(), "tenant_id": DEFAULT_TENANT_ID, "endpoint_host": FCM, "vapid_key_id": key_id},
                **{"gone_count": 1, "tried_count": 1, "ended_at": ended_at, "ended_as": ended_as},
            )
            for ended_at, ended_as in (
                (None, None),
                (days.now - timedelta(days=29), "released"),
                (days.now - timedelta(days=31), "released"),
            )
        ]
        session.add_all(quarantines)
        session.flush()
        suspected, just_released, released = (quarantine.id for quarantine in quarantines)
        stay = [alive, one(session, 29), one(session, 31, suspected), one(session, 60, just_released)]
        goes = [one(session, 31), one(session, 31, released), one(session, 400), one(session, 31)]
        foretold = preview(session, kept_days=90).subscriptions

    removed = clean_up(sessions, kept_days=90)

    with transaction(sessions) as session:
        left = set(session.scalars(select(Subscription.id)))
    assert removed.subscriptions == foretold == len(goes)
    assert left == set(stay)


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
