"""Retention: deliveries past LOG_RETENTION_DAYS go, their counts stay; subscriptions long gone or deleted go, too.

Every step is a short transaction, and what breaks off is done by the next run: counts are frozen before a row goes,
and what else is kept of a notification goes before its last row. Several runs at once do no harm.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import structlog
from sqlalchemy import TextClause, text
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from app.db.session import SessionFactory, database_now, transaction
from app.delivery.freezing import freeze
from app.delivery.partitions import drop_month, month_of, partition_of, stored_months

ROWS_AT_ONCE = 5_000
GONE_KEPT = timedelta(days=30)
MARKS = ("gone_at", "deleted_at")

_FIRST = UUID(int=0)

# From notification to notification by the primary key, however many rows each has.
_NEXT = """
    SELECT planned_at, notification_id
    FROM {partition}
    WHERE planned_at < :before AND (planned_at, notification_id) > (:after, :after_id)
    ORDER BY planned_at, notification_id
    LIMIT 1
"""
_DELETE = """
    DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {which} LIMIT :at_once)) RETURNING 1
"""
_OF_NOTIFICATION = "notification_id = :notification_id"
_DELETE_RECEIPTS = text(_DELETE.format(table="push_receipts", which=_OF_NOTIFICATION))
_DELETE_SKIPS = text(_DELETE.format(table="push_skips", which=_OF_NOTIFICATION))
_DELETE_BATCHES = text(_DELETE.format(table="push_delivery_batches", which=_OF_NOTIFICATION))
# What is scheduled has no rows, and is accepted anew at its release.
_HAS_UNFINISHED = text(
    """
    SELECT EXISTS (
        SELECT FROM push_notifications
        WHERE accepted_at >= :start AND accepted_at < :end AND finished_at IS NULL AND state <> 'scheduled'
    )
    """
)
# By ix_push_subscriptions_gone_at and ix_push_subscriptions_deleted_at. What an operator says of a quarantine can
# be taken back for as long, however long it was open.
_IS_TO_BE_PURGED = """
    subscription.{mark} < now() - :kept AND NOT EXISTS (
        SELECT FROM push_quarantines AS quarantine
        WHERE quarantine.id = subscription.quarantine_id
          AND (quarantine.ended_at IS NULL OR quarantine.ended_at >= now() - :kept)
    )
"""
# Waits for nobody: who is just subscribing again, or being restored, stays.
_PURGE = """
    DELETE FROM push_subscriptions WHERE id IN (
        SELECT subscription.id FROM push_subscriptions AS subscription
        WHERE {is_to_be_purged}
        LIMIT :at_once
        FOR UPDATE OF subscription SKIP LOCKED
    )
    RETURNING 1
"""
_PURGES = [text(_PURGE.format(is_to_be_purged=_IS_TO_BE_PURGED.format(mark=mark))) for mark in MARKS]
_WOULD_GO = text(
    """
    SELECT count(*) AS notifications, coalesce(sum(log.rows), 0)::bigint AS deliveries
    FROM push_notifications AS notification
    JOIN (
        SELECT notification_id, count(*) AS rows
        FROM push_delivery_logs WHERE planned_at < :before GROUP BY notification_id
    ) AS log ON log.notification_id = notification.id
    WHERE notification.finished_at IS NOT NULL
    """
)
_BESIDE_WOULD_GO = """
    SELECT count(*) FROM {table} AS beside
    JOIN push_notifications AS notification ON notification.id = beside.notification_id
    WHERE notification.accepted_at < :before AND notification.finished_at IS NOT NULL
"""
_WOULD_BE_PURGED = """
    SELECT count(*) FROM push_subscriptions AS subscription WHERE ({is_long_gone}) OR ({is_long_deleted})
"""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Removed:
    """How many rows went, of how many notifications the deliveries were, and how many months went as a whole."""

    notifications: int = 0
    deliveries: int = 0
    months: int = 0
    receipts: int = 0
    skips: int = 0
    subscriptions: int = 0


Tell = Callable[[Removed], None]


def _nobody(removed: Removed) -> None:
    """Hear of the progress when nobody wants to."""


class _Planned(NamedTuple):
    """A notification that has rows, and the moment at which all of them are planned."""

    planned_at: datetime
    notification_id: UUID


def clean_up(sessions: SessionFactory, *, kept_days: int, tell: Tell = _nobody) -> Removed:
    """Let go what is too old, and return what went. Notifications stay; one that is not finished keeps all it has.

    `tell` hears of the progress. Raises PASSING_ERRORS: what was done by then stays done.
    """
    removed = Removed()
    with transaction(sessions) as session:
        before = _limit(session, kept_days)
        months = [start for start in stored_months(session) if start < before]
    for start in months:
        try:
            _clean_up_month(sessions, start, before, removed, tell)
        except ProgrammingError:
            with transaction(sessions) as session:
                if start in stored_months(session):
                    raise
            # Another run has dropped it meanwhile.
    for purge in _PURGES:
        for number in _repeated(sessions, purge, kept=GONE_KEPT):
            removed.subscriptions += number
            tell(removed)
    return removed


def preview(session: Session, *, kept_days: int) -> Removed:
    """Return what `clean_up` would remove now. Reads all of it."""
    before = {"before": _limit(session, kept_days)}
    found = session.execute(_WOULD_GO, before).one()
    receipts, skips = (
        session.execute(text(_BESIDE_WOULD_GO.format(table=table)), before).scalar_one()
        for table in ("push_receipts", "push_skips")
    )
    is_long_gone, is_long_deleted = (_IS_TO_BE_PURGED.format(mark=mark) for mark in MARKS)
    purged = text(_WOULD_BE_PURGED.format(is_long_gone=is_long_gone, is_long_deleted=is_long_deleted))
    return Removed(
        notifications=found.notifications,
        deliveries=found.deliveries,
        months=sum(_is_past(session, start, before["before"]) for start in stored_months(session)),
        receipts=receipts,
        skips=skips,
        subscriptions=session.execute(purged, {"kept": GONE_KEPT}).scalar_one(),
    )


def _limit(session: Session, kept_days: int) -> datetime:
    return database_now(session) - timedelta(days=kept_days)


def _is_past(session: Session, start: datetime, before: datetime) -> bool:
    """Return whether all of a month is too old, and nobody can add to it: who is finished stays so."""
    end = month_of(start)[1]
    return end <= before and not session.execute(_HAS_UNFINISHED, {"start": start, "end": end}).scalar_one()


def _clean_up_month(
    sessions: SessionFactory, start: datetime, before: datetime, removed: Removed, tell: Tell
) -> None:
    with transaction(sessions) as session:
        goes_as_a_whole = _is_past(session, start, before)
    frozen: list[tuple[_Planned, int]] = []
    for planned in _with_rows(sessions, start, before):
        with transaction(sessions) as session:
            size = freeze(session, planned.notification_id, planned.planned_at)
        if size is None:
            goes_as_a_whole = False
        else:
            frozen.append((planned, size))
    for planned, _ in frozen:
        _clean_up_beside(sessions, planned, removed)
        if not goes_as_a_whole:
            for number in _repeated(sessions, _delete_rows(start), **planned._asdict()):
                removed.deliveries += number
                tell(removed)
            removed.notifications += 1
    if goes_as_a_whole and _dropped(sessions, start):
        removed.months += 1
        removed.notifications += len(frozen)
        removed.deliveries += sum(size for _, size in frozen)
    tell(removed)


def _with_rows(sessions: SessionFactory, start: datetime, before: datetime) -> Iterator[_Planned]:
    """Yield each notification that has rows in a month, planned before that moment."""
    following = text(_NEXT.format(partition=partition_of(start)))
    last = _Planned(start, _FIRST)
    while True:
        with transaction(sessions) as session:
            values = {"before": before, "after": last.planned_at, "after_id": last.notification_id}
            found = session.execute(following, values).one_or_none()
        if found is None:
            return
        last = _Planned(*found)
        yield last


def _clean_up_beside(sessions: SessionFactory, planned: _Planned, removed: Removed) -> None:
    """Let go what is kept of a frozen notification beside its rows: by these it is found again."""
    values = {"notification_id": planned.notification_id}
    removed.receipts += sum(_repeated(sessions, _DELETE_RECEIPTS, **values))
    removed.skips += sum(_repeated(sessions, _DELETE_SKIPS, **values))
    for _ in _repeated(sessions, _DELETE_BATCHES, **values):
        pass


def _delete_rows(start: datetime) -> TextClause:
    which = f"planned_at = :planned_at AND {_OF_NOTIFICATION}"
    return text(_DELETE.format(table=partition_of(start), which=which))


def _repeated(sessions: SessionFactory, statement: TextClause, **values: object) -> Iterator[int]:
    """Run a statement for ROWS_AT_ONCE rows at a time until it finds no more; yield how many it changed."""
    number = ROWS_AT_ONCE
    while number == ROWS_AT_ONCE:
        with transaction(sessions) as session:
            number = len(session.execute(statement, {**values, "at_once": ROWS_AT_ONCE}).all())
        yield number


def _dropped(sessions: SessionFactory, start: datetime) -> bool:
    """Drop a month. False when too much was going on: the next run tries again."""
    try:
        with transaction(sessions) as session:
            drop_month(session, start)
    except OperationalError as error:
        log.info("a month of deliveries is dropped later", month=f"{start:%Y-%m}", error=type(error).__name__)
        return False
    return True
