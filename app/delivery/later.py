"""Batches for what is to be tried again: in the lane of the batch it was in, or under another VAPID key."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.orm import Session

from app.delivery.claim import Work
from app.ids import new_id
from app.models import BatchState, DeliveryBatch


def later_batch(
    session: Session, work: Work, size: int, not_before: datetime, *, vapid_key_id: UUID | None = None
) -> UUID:
    """Add a batch for so many of a claimed one, and return its id."""
    batch_id = new_id()
    session.execute(
        insert(DeliveryBatch).values(
            id=batch_id,
            tenant_id=work.notification.tenant_id,
            notification_id=work.notification.id,
            planned_at=work.planned_at,
            endpoint_host=work.lane.endpoint_host,
            vapid_key_id=vapid_key_id or work.lane.vapid_key_id,
            size=size,
            attempt=work.attempt + 1,
            position=work.position,
            state=BatchState.READY,
            not_before=not_before,
        )
    )
    return batch_id
