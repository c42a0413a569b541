"""What is too old goes, its counts stay, and nothing is lost wherever that breaks off."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from app.analytics.period import Period
from app.analytics.service import delivery_statistics
from app.db.session import SessionFactory, database_now, transaction
from app.delivery import retention
from app.delivery.freezing import freeze
from app.delivery.partitions import month_of, partition_of, stored_months
from app.delivery.retention import Removed, clean_up, preview
from app.ids import new_id
from app.models import (
    DEFAULT_TENANT_ID,
    Notification,
    NotificationState,
    Quarantine,
    Subscription,
)
from app.notifications import repository as notifications
from tests.support.broken_off import broken_off
from tests.support.ledger import FCM, add_notification, add_subscription, adds_up
from tests.support.retention import COUNTS, NOTHING, Calendar, add, counts_of, left_of


@pytest.fixture
def days(sessions: SessionFactory) -> Calendar:
    with transaction(sessions) as session:
        return Calendar(database_now(session))


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


def test_nothing_is_lost_wherever_it_breaks_off(
    sessions: SessionFactory, days: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ROWS_AT_ONCE", 3)
    ids = [add(sessions, days.just_too_old), add(sessions, days.last_month, sent=5)]
    ids.append(add(sessions, days.just_kept))
    before = counts_of(sessions, *ids)

    states = [
        (adds_up(sessions), counts_of(sessions, *ids) == before)
        for _ in broken_off(lambda: clean_up(sessions, kept_days=days.kept_days), retention)
    ]

    assert len(states) > 10
    assert set(states) == {(True, True)}
    assert [left_of(sessions, each) == NOTHING for each in ids] == [True, True, False]


def test_two_at_once_do_each_other_no_harm(
    sessions: SessionFactory, days: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [add(sessions, moment) for moment in (days.last_month, days.last_month, days.just_too_old)]
    others: list[Removed] = []

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
        marked: dict[str, Any] = {mark: days.now - timedelta(days=days_ago)}
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
