"""Closing batches: nothing of them is pending any more, so what became of their rows is counted for good."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db.arrays import plain_array
from app.delivery.partitions import month_of

# By the month, not the moment: see ledger.py on statistics. It leaves only the index on batch_id to go by.
_CLOSE = """
    UPDATE push_delivery_batches AS batch
    SET state = 'closed', closed_at = now(), lease_token = NULL, leased_until = NULL,
        sent_count = counted.sent,
        delivered_count = counted.delivered,
        failed_count = counted.failed,
        expired_count = counted.expired
    FROM unnest(CAST(:batch_ids AS uuid[])) AS closing(id)
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE log.status = 'sent') AS sent,
               count(*) FILTER (WHERE log.status = 'delivered') AS delivered,
               count(*) FILTER (WHERE log.status = 'failed') AS failed,
               count(*) FILTER (WHERE log.status = 'expired') AS expired
        FROM push_delivery_logs AS log
        WHERE log.planned_at >= :month_start AND log.planned_at < :month_end
          AND log.batch_id = closing.id
    ) AS counted
    WHERE batch.id = closing.id {and_held}
    RETURNING batch.id
"""
_CLOSE_ALL = text(_CLOSE.format(and_held=""))
_CLOSE_HELD = text(_CLOSE.format(and_held="AND batch.lease_token = :lease_token"))


def close_held(session: Session, batch_id: UUID, lease_token: UUID, *, planned_at: datetime) -> bool:
    """Close a batch by its lease. False when that was lost: the batch is another's then."""
    closed = session.execute(_CLOSE_HELD, {**_rows_of([batch_id], planned_at), "lease_token": lease_token})
    return closed.one_or_none() is not None


def close_all(session: Session, batch_ids: Sequence[UUID], *, planned_at: datetime) -> None:
    """Close batches of one notification, whoever holds them. The caller has their rows locked."""
    session.execute(_CLOSE_ALL, _rows_of(batch_ids, planned_at))


def _rows_of(batch_ids: Sequence[UUID], planned_at: datetime) -> dict[str, object]:
    month_start, month_end = month_of(planned_at)
    return {"batch_ids": plain_array(batch_ids), "month_start": month_start, "month_end": month_end}
