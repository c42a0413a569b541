"""Closing batches: nothing of them is pending any more, so what became of their rows is counted for good.

A receipt changes a row only while it holds the batch (receipts.py), and corrects the counts of a closed one. So
whoever closes a batch holds it before the statement that counts begins: what that does not see yet comes later, and
finds the batch closed.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db.arrays import plain_array
from app.delivery.partitions import month_of

_HOLD = text(
    "SELECT id FROM push_delivery_batches WHERE id = :batch_id AND lease_token = :lease_token FOR NO KEY UPDATE"
)
# By the month, not the moment: see ledger.py on statistics. It leaves only the index on batch_id to go by.
_CLOSE = text(
    """
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
    WHERE batch.id = closing.id
    """
)


def close_held(session: Session, batch_id: UUID, lease_token: UUID, *, planned_at: datetime) -> bool:
    """Close a batch by its lease. False when that was lost: the batch is another's then."""
    held = session.execute(_HOLD, {"batch_id": batch_id, "lease_token": lease_token}).one_or_none()
    if held is None:
        return False
    close_all(session, [batch_id], planned_at=planned_at)
    return True


def close_all(session: Session, batch_ids: Sequence[UUID], *, planned_at: datetime) -> None:
    """Close batches of one notification, which the caller holds."""
    month_start, month_end = month_of(planned_at)
    values = {"batch_ids": plain_array(batch_ids), "month_start": month_start, "month_end": month_end}
    session.execute(_CLOSE, values)
