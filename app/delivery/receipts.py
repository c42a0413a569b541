"""What browsers report of deliveries, written beside the ledger; one that was displayed is delivered.

Who writes receipts waits for no row and no batch, so nobody waits for him in a circle, and nobody who hangs holds
up the receipts of others: what another just holds is BUSY, and is tried again once this transaction has ended. It
goes by

1. the ledger's rows, each held until the end. So of two who report one delivery the second sees what the first
   wrote, and who is erased meanwhile keeps no receipt: the rows lose their link before the receipts are deleted.
2. the batches of the rows that become delivered. Whoever closes one holds it, too, before he counts (closing.py):
   either he counts what was written here, or he has closed it, and its counts are corrected here.
3. the receipts themselves: the first of an event is kept.

To add a receipt holds its notification against whoever cancels it, and would wait for him: what is just being
cancelled is BUSY, too. That is looked at before, and not held until the end: cancelling would never have its turn
where receipts come all the time. Who cancels in between is waited for. He passes over batches that are held here,
and would leave them to wait for their next try: they are hastened here (cancel.py).

A row that is delivered stays so: the worker whose push service has not answered yet, and whoever would try again,
find it pending no more.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from app.db.arrays import plain_array, text_array
from app.delivery import cancel
from app.delivery.partitions import partition_of
from app.delivery.report import Event, Report, Verdict, Written
from app.delivery.token import DeliveryKey
from app.ids import new_id
from app.models import DeliveryStatus


class _Row(NamedTuple):
    """A delivery as the ledger has it; the ids are text, as they go back there."""

    tenant_id: str
    batch_id: str
    status: str


@dataclass(frozen=True, slots=True)
class _Batches:
    """Which batches another holds; of those held, which are told of their deliveries, and whose wait for a try."""

    busy: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    waiting_of: set[UUID] = field(default_factory=set)


_DELIVERED = DeliveryStatus.DELIVERED.value
# What a status is called among the counts of a closed batch, in which nothing is pending.
_COUNTED = (DeliveryStatus.SENT.value, DeliveryStatus.FAILED.value, DeliveryStatus.EXPIRED.value)

_LOOK_WHO_IS_CANCELLED = text(
    """
    SAVEPOINT before_looking;
    SELECT CAST(id AS text) FROM push_notifications
    WHERE id = ANY(CAST(:ids AS uuid[]))
    FOR KEY SHARE SKIP LOCKED
    """
)
# Each row is to be found by its key, whatever the statistics say: see ledger.py. Whoever is waited for is done in a
# moment, or hangs: then these are to be sent again.
_BY_KEY = """
    SET LOCAL lock_timeout = '2s';
    SET LOCAL enable_hashjoin = off;
    SET LOCAL enable_mergejoin = off;
    SET LOCAL enable_seqscan = off;
    SET LOCAL enable_bitmapscan = off;
    SELECT entry.number, CAST(log.tenant_id AS text), CAST(log.batch_id AS text), log.status
    FROM (
        SELECT * FROM unnest(
            CAST(:planned_ats AS timestamptz[]), CAST(:notification_ids AS uuid[]),
            CAST(:subscription_ids AS uuid[])
        ) WITH ORDINALITY AS named(planned_at, notification_id, subscription_id, number)
        OFFSET 0
    ) AS entry
    JOIN {partition} AS log
      ON log.planned_at = entry.planned_at
     AND log.notification_id = entry.notification_id
     AND log.subscription_id = entry.subscription_id
"""
_HOLD_ROWS = f"""
    ROLLBACK TO SAVEPOINT before_looking;
    RELEASE SAVEPOINT before_looking;
    {_BY_KEY}
    FOR NO KEY UPDATE OF log SKIP LOCKED
"""
# A batch that nobody has had is pending as a whole to whoever counts, and a closed one has counts of its own.
_HOLD_BATCHES = text(
    """
    SELECT CAST(id AS text),
           sent_count IS NOT NULL OR (state <> 'closed' AND claimed_at IS NULL),
           CASE WHEN state = 'ready' AND not_before > now() THEN notification_id END
    FROM push_delivery_batches
    WHERE id = ANY(CAST(:ids AS uuid[]))
    FOR NO KEY UPDATE SKIP LOCKED
    """
)
_WHICH_BATCHES = text("SELECT CAST(id AS text) FROM push_delivery_batches WHERE id = ANY(CAST(:ids AS uuid[]))")
_OCCURRED_AT = "greatest(entry.planned_at, now() - entry.seconds_ago * interval '1 second')"
_ADD = text(
    f"""
    INSERT INTO push_receipts (
        id, tenant_id, planned_at, notification_id, subscription_id, event, action, occurred_at
    )
    SELECT id, tenant_id, planned_at, notification_id, subscription_id, event, action, {_OCCURRED_AT}
    FROM unnest(
        CAST(:ids AS uuid[]), CAST(:tenant_ids AS uuid[]), CAST(:planned_ats AS timestamptz[]),
        CAST(:notification_ids AS uuid[]), CAST(:subscription_ids AS uuid[]), CAST(:events AS text[]),
        CAST(:actions AS text[]), CAST(:seconds_ago AS double precision[])
    ) AS entry(
        id, tenant_id, planned_at, notification_id, subscription_id, event, action, seconds_ago
    )
    ON CONFLICT (notification_id, subscription_id, event) DO NOTHING
    RETURNING CAST(id AS text), CAST(extract(epoch FROM occurred_at - planned_at) AS double precision)
    """  # noqa: S608 - constants
)
_DELIVER = f"""
    UPDATE {{partition}} AS log
    SET status = 'delivered', delivered_at = {_OCCURRED_AT}, reason = NULL, error_message = NULL,
        sent_at = coalesce(log.sent_at, {_OCCURRED_AT}), attempts = greatest(log.attempts, 1)
    FROM (
        SELECT * FROM unnest(
            CAST(:planned_ats AS timestamptz[]), CAST(:notification_ids AS uuid[]),
            CAST(:subscription_ids AS uuid[]), CAST(:seconds_ago AS double precision[])
        ) AS named(planned_at, notification_id, subscription_id, seconds_ago)
        OFFSET 0
    ) AS entry
    WHERE log.planned_at = entry.planned_at
      AND log.notification_id = entry.notification_id
      AND log.subscription_id = entry.subscription_id
"""  # noqa: S608 - constants
_CORRECT = text(
    """
    UPDATE push_delivery_batches AS batch
    SET sent_count = batch.sent_count - moved.sent,
        delivered_count = batch.delivered_count + moved.delivered,
        failed_count = batch.failed_count - moved.failed,
        expired_count = batch.expired_count - moved.expired,
        claimed_at = CASE batch.state WHEN 'closed' THEN batch.claimed_at
                                      ELSE coalesce(batch.claimed_at, now()) END
    FROM unnest(
        CAST(:ids AS uuid[]), CAST(:delivered AS integer[]), CAST(:sent AS integer[]), CAST(:failed AS integer[]),
        CAST(:expired AS integer[])
    ) AS moved(id, delivered, sent, failed, expired)
    WHERE batch.id = moved.id
    """
)


@lru_cache(maxsize=16)
def _on(partition: str, statement: str) -> TextClause:
    return text(statement.format(partition=partition))


def write(session: Session, reports: Sequence[Report]) -> list[Written]:
    """Write reports of deliveries of one month, and return what became of each, in their order.

    Raises ProgrammingError when that month has no partition (any more).
    """
    partition = partition_of(reports[0].delivery.planned_at)
    rows, busy = _hold_rows(session, partition, {report.delivery for report in reports})
    becoming = {
        report.delivery: report
        for report in reversed(reports)  # of two alike, the first one counts
        if report.event is Event.DISPLAYED
        and report.delivery in rows
        and rows[report.delivery].status != _DELIVERED
    }
    batches = _hold_batches(session, {rows[delivery].batch_id for delivery in becoming})
    waiting = {delivery for delivery in becoming if rows[delivery].batch_id in batches.busy}
    delivered = {delivery: report for delivery, report in becoming.items() if delivery not in waiting}
    if delivered:
        values = {**_keys(delivered), "seconds_ago": _seconds(delivered.values())}
        session.execute(_on(partition, _DELIVER), values)
        _correct(session, batches.told, [rows[delivery] for delivery in delivered])

    def unwritten(report: Report) -> Written | None:
        if report.delivery not in rows:
            return Written(Verdict.BUSY if report.delivery in busy else Verdict.UNKNOWN)
        is_waiting = report.event is Event.DISPLAYED and report.delivery in waiting
        return Written(Verdict.BUSY) if is_waiting else None

    written = [unwritten(report) for report in reports]
    ready = [report for report, not_now in zip(reports, written, strict=True) if not_now is None]
    added = iter(_add(session, ready, rows))
    for notification_id in batches.waiting_of:
        cancel.hasten_if_cancelled(session, notification_id)
    return [not_now or next(added) for not_now in written]


def _hold_rows(
    session: Session, partition: str, deliveries: Collection[DeliveryKey]
) -> tuple[dict[DeliveryKey, _Row], set[DeliveryKey]]:
    """Return the rows that are held now, and the deliveries whose rows or notifications another holds."""
    notification_ids = plain_array({delivery.notification_id for delivery in deliveries})
    free = {UUID(each) for each in session.scalars(_LOOK_WHO_IS_CANCELLED, {"ids": notification_ids})}
    wanted = [delivery for delivery in deliveries if delivery.notification_id in free]
    held = session.execute(_on(partition, _HOLD_ROWS), _keys(wanted)).all()
    rows = {wanted[number - 1]: _Row(*columns) for number, *columns in held}
    if len(rows) == len(deliveries):
        return rows, set()
    missing = [delivery for delivery in deliveries if delivery not in rows]
    there = session.execute(_on(partition, _BY_KEY), _keys(missing)).all()
    return rows, {missing[number - 1] for number, *_ in there}


def _hold_batches(session: Session, batch_ids: Collection[str]) -> _Batches:
    """Hold these batches. One that is gone, which retention deletes before its rows, needs no holding."""
    batches = _Batches()
    if not batch_ids:
        return batches
    missing = set(batch_ids)
    for batch_id, is_told, waiting_of in session.execute(_HOLD_BATCHES, {"ids": plain_array(batch_ids)}):
        missing.discard(batch_id)
        if is_told:
            batches.told.add(batch_id)
        if waiting_of is not None:
            batches.waiting_of.add(waiting_of)
    if missing:
        batches.busy.update(session.scalars(_WHICH_BATCHES, {"ids": plain_array(missing)}))
    return batches


def _add(session: Session, reports: Sequence[Report], rows: Mapping[DeliveryKey, _Row]) -> list[Written]:
    """Store receipts of rows that are held, and say of each whether it is new."""
    if not reports:
        return []
    ids = [str(new_id()) for _ in reports]
    added = session.execute(
        _ADD,
        {
            "ids": plain_array(ids),
            "tenant_ids": plain_array(rows[report.delivery].tenant_id for report in reports),
            **_keys(report.delivery for report in reports),
            "events": plain_array(report.event.value for report in reports),
            "actions": text_array([report.action for report in reports]),
            "seconds_ago": _seconds(reports),
        },
    )
    seconds: dict[str, float] = dict(added.all())
    return [
        Written(Verdict.ACCEPTED, seconds[each]) if each in seconds else Written(Verdict.REPEATED) for each in ids
    ]


def _correct(session: Session, batch_ids: Collection[str], rows: Iterable[_Row]) -> None:
    """Let the batches among these ids tell that so many of their rows are delivered now."""
    before: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if row.batch_id in batch_ids:
            before[row.batch_id][row.status] += 1
    if before:
        counts = {status: plain_array(counter[status] for counter in before.values()) for status in _COUNTED}
        totals = plain_array(counter.total() for counter in before.values())
        session.execute(_CORRECT, {"ids": plain_array(before), "delivered": totals, **counts})


def _keys(deliveries: Iterable[DeliveryKey]) -> dict[str, str]:
    keys = list(deliveries)
    return {
        "planned_ats": plain_array(key.planned_at.isoformat() for key in keys),
        "notification_ids": plain_array(key.notification_id for key in keys),
        "subscription_ids": plain_array(key.subscription_id for key in keys),
    }


def _seconds(reports: Iterable[Report]) -> str:
    return plain_array(report.seconds_ago for report in reports)
