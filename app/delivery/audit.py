"""The audit: reads the whole ledger in one snapshot and proves that it adds up, or says where it does not.

Read-only. It goes by pages of notifications and aggregates in the database, so neither its memory nor a single
statement grows with the ledger, and it waits for nobody and holds nobody up.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from app.db.session import SessionFactory, database_now, without_time_limit
from app.delivery.account import Facts, Finding, Rule, findings_of
from app.models import DeliveryStatus, NotificationState

PAGE_NOTIFICATIONS = 500
PAGE_ROWS = 500_000
# Kept in memory and told one by one; past it they are counted.
MOST_TOLD = 10_000

_PAGE = text(
    """
    SELECT id, planned_count FROM push_notifications
    WHERE (CAST(:before AS uuid) IS NULL OR id < :before) AND (CAST(:only AS uuid) IS NULL OR id = :only)
    ORDER BY id DESC LIMIT :limit
    """
)
# A notification's rows are found by the first two columns of their primary key, its batches by
# ix_push_delivery_batches_notification_id.
_FACTS = text(
    """
    SELECT notification.id, notification.accepted_at, notification.state, notification.finished_at,
           notification.planned_count, notification.targeted, notification.frozen_counts, ledger.*, open.*
    FROM push_notifications AS notification
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(part.rows), 0)::bigint AS rows,
               coalesce(sum(part.pending), 0)::bigint AS pending,
               coalesce(sum(part.sent), 0)::bigint AS sent,
               coalesce(sum(part.delivered), 0)::bigint AS delivered,
               coalesce(sum(part.failed), 0)::bigint AS failed,
               coalesce(sum(part.expired), 0)::bigint AS expired,
               coalesce(sum(part.unexplained), 0)::bigint AS final_without_reason,
               coalesce(sum(part.pending) FILTER (WHERE batch.id IS NULL), 0)::bigint AS pending_without_batch,
               coalesce(sum(part.pending) FILTER (WHERE batch.state = 'closed'), 0)::bigint
                   AS pending_in_closed_batch,
               coalesce(sum(part.rows) FILTER (WHERE batch.notification_id <> notification.id), 0)::bigint
                   AS in_anothers_batch,
               coalesce(sum(part.rows) FILTER (WHERE batch.sent_count IS NOT NULL), 0)::bigint
                   AS rows_of_counted_batches,
               count(*) FILTER (
                   WHERE batch.sent_count IS NOT NULL
                     AND (batch.sent_count, batch.delivered_count, batch.failed_count, batch.expired_count)
                      IS DISTINCT FROM (part.sent, part.delivered, part.failed, part.expired)
               ) AS miscounted_batches
        FROM (
            SELECT batch_id,
                   count(*) AS rows,
                   count(*) FILTER (WHERE status = 'pending') AS pending,
                   count(*) FILTER (WHERE status = 'sent') AS sent,
                   count(*) FILTER (WHERE status = 'delivered') AS delivered,
                   count(*) FILTER (WHERE status = 'failed') AS failed,
                   count(*) FILTER (WHERE status = 'expired') AS expired,
                   count(*) FILTER (WHERE status IN ('failed', 'expired') AND reason IS NULL) AS unexplained
            FROM push_delivery_logs
            WHERE planned_at = notification.accepted_at AND notification_id = notification.id
            GROUP BY batch_id
        ) AS part
        LEFT JOIN push_delivery_batches AS batch ON batch.id = part.batch_id
    ) AS ledger
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE state <> 'closed') AS open_batches,
               count(*) FILTER (WHERE state <> 'closed' AND planned_at <> notification.accepted_at)
                   AS misdated_batches,
               coalesce(sum(sent_count + delivered_count + failed_count + expired_count), 0)::bigint
                   AS counted_by_batches
        FROM push_delivery_batches WHERE notification_id = notification.id
    ) AS open
    WHERE notification.id = ANY(CAST(:ids AS uuid[]))
    ORDER BY notification.id DESC
    """
)
# Rows that no notification finds: theirs does not exist, or was accepted at another time, in another partition.
_STRAYS = text(
    """
    SELECT stray.notification_id, stray.rows, notification.id IS NOT NULL AS is_misplaced
    FROM (
        SELECT log.notification_id, count(*) AS rows
        FROM push_delivery_logs AS log
        WHERE (CAST(:only AS uuid) IS NULL OR log.notification_id = :only) AND NOT EXISTS (
            SELECT FROM push_notifications AS notification
            WHERE notification.id = log.notification_id AND notification.accepted_at = log.planned_at
        )
        GROUP BY log.notification_id
    ) AS stray
    LEFT JOIN push_notifications AS notification ON notification.id = stray.notification_id
    ORDER BY stray.notification_id DESC
    """
)
_SIZE = text(
    """
    SELECT count(*) AS notifications, coalesce(sum(planned_count), 0)::bigint AS planned
    FROM push_notifications WHERE CAST(:only AS uuid) IS NULL OR id = :only
    """
)

Tell = Callable[[int, int], None]


def _nobody(done: int, total: int) -> None:
    """Hear of the progress when nobody wants to."""


@dataclass(frozen=True, slots=True)
class Account:
    """One notification's facts, and what is wrong with them."""

    facts: Facts
    findings: list[Finding]


@dataclass(frozen=True, slots=True)
class Stray:
    """Rows that belong to no notification, or lie where theirs does not look."""

    notification_id: UUID
    rows: int
    finding: Finding


@dataclass(slots=True)
class Report:
    """What an audit saw. `newest` are the first accounts it looked at, `wrong` all that do not add up."""

    snapshot_at: datetime
    notifications: int = 0
    planned: int = 0
    by_status: Counter[DeliveryStatus] = field(default_factory=Counter)
    newest: list[Account] = field(default_factory=list)
    wrong: list[Account] = field(default_factory=list)
    strays: list[Stray] = field(default_factory=list)
    untold: int = 0  # wrong ones past MOST_TOLD

    @property
    def adds_up(self) -> bool:
        return not (self.wrong or self.strays or self.untold)


@contextmanager
def snapshot(sessions: SessionFactory) -> Iterator[Session]:
    """Open the transaction that an audit wants: read-only, all of it as of its first statement."""
    with sessions() as session, session.begin():
        session.connection(execution_options={"isolation_level": "REPEATABLE READ", "postgresql_readonly": True})
        without_time_limit(session)
        yield session


def examine(session: Session, *, only: UUID | None = None, listed: int = 20, tell: Tell = _nobody) -> Report:
    """Audit the ledger, or one notification of it, in a session of `snapshot`.

    `tell(done, total)` hears of the progress, in planned deliveries.
    """
    report = Report(database_now(session))
    total = session.execute(_SIZE, {"only": only}).one().planned
    for facts in _all_facts(session, only):
        _enter(report, facts, listed)
        tell(report.planned, total)
    for row in session.execute(_STRAYS, {"only": only}, execution_options={"yield_per": 1000}):
        if len(report.strays) < MOST_TOLD:
            report.strays.append(_stray(row))
        else:
            report.untold += 1
    return report


def _enter(report: Report, facts: Facts, listed: int) -> None:
    account = Account(facts, findings_of(facts))
    report.notifications += 1
    report.planned += facts.planned
    report.by_status.update(facts.by_status)
    if len(report.newest) < listed:
        report.newest.append(account)
    if account.findings and len(report.wrong) < MOST_TOLD:
        report.wrong.append(account)
    elif account.findings:
        report.untold += 1


def _all_facts(session: Session, only: UUID | None) -> Iterator[Facts]:
    """Yield the facts of each notification, the newest first; a statement reads PAGE_ROWS or one notification."""
    before: UUID | None = None
    while True:
        found = session.execute(_PAGE, {"before": before, "only": only, "limit": PAGE_NOTIFICATIONS})
        page = deque((row.id, row.planned_count) for row in found)
        if not page:
            return
        before = page[-1][0]
        while page:
            yield from map(_facts, session.execute(_FACTS, {"ids": _next_ids(page)}))


def _next_ids(page: deque[tuple[UUID, int]]) -> list[str]:
    notification_id, rows = page.popleft()
    ids = [str(notification_id)]
    while page and rows + page[0][1] <= PAGE_ROWS:
        notification_id, more = page.popleft()
        ids.append(str(notification_id))
        rows += more
    return ids


def _facts(row: Row[Any]) -> Facts:
    live = {status: getattr(row, status) for status in DeliveryStatus}
    frozen: dict[str, int] | None = row.frozen_counts
    return Facts(
        notification_id=row.id,
        accepted_at=row.accepted_at,
        state=NotificationState(row.state),
        finished_at=row.finished_at,
        planned=row.planned_count,
        targeted=row.targeted,
        is_frozen=frozen is not None,
        by_status=live if frozen is None else {status: frozen.get(status, 0) for status in DeliveryStatus},
        rows=row.rows,
        pending_without_batch=row.pending_without_batch,
        pending_in_closed_batch=row.pending_in_closed_batch,
        in_anothers_batch=row.in_anothers_batch,
        final_without_reason=row.final_without_reason,
        open_batches=row.open_batches,
        misdated_batches=row.misdated_batches,
        miscounted_batches=row.miscounted_batches,
        counted_by_batches=row.counted_by_batches,
        rows_of_counted_batches=row.rows_of_counted_batches,
    )


def _stray(row: Row[Any]) -> Stray:
    if row.is_misplaced:
        wrong = f"{row.rows:,} deliveries have another planned_at than its accepted_at"
    else:
        wrong = f"{row.rows:,} deliveries belong to no notification"
    return Stray(row.notification_id, row.rows, Finding(Rule.NO_STRAYS, wrong))
