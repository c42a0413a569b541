"""Freezing: what became of a notification is written down on it, before retention drops the rows that say so."""

from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.models import DeliveryLog, Notification

log = structlog.get_logger(__name__)


def freeze(session: Session, notification_id: UUID, planned_at: datetime) -> int | None:
    """Freeze the counts of a finished notification, once; return how many deliveries those are of.

    None: it is not finished, or its rows do not add up. Then they stay: they are what there is to go by.
    """
    notification = session.execute(
        select(Notification.finished_at, Notification.planned_count, Notification.frozen_counts)
        .where(Notification.id == notification_id)
        .with_for_update(key_share=True)
    ).one_or_none()
    if notification is None or notification.finished_at is None:
        return None
    if notification.frozen_counts is None:
        counts = _counts(session, notification_id, planned_at)
        if sum(counts.values()) != notification.planned_count:
            log.error("the ledger does not add up: nothing is dropped", notification=str(notification_id))
            return None
        session.execute(
            update(Notification)
            .where(Notification.id == notification_id)
            .values(frozen_counts=counts)
            .execution_options(synchronize_session=False)
        )
    planned: int = notification.planned_count
    return planned


def _counts(session: Session, notification_id: UUID, planned_at: datetime) -> dict[str, int]:
    # Served by the primary key.
    found = session.execute(
        select(DeliveryLog.status, func.count())
        .where(DeliveryLog.planned_at == planned_at, DeliveryLog.notification_id == notification_id)
        .group_by(DeliveryLog.status)
    )
    return {str(status): number for status, number in found}
