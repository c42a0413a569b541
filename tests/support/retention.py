"""Notifications around the day that retention begins at, and what is left of them."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select

from app.db.session import SessionFactory, transaction
from app.delivery.partitions import month_of
from app.ids import new_id
from app.models import (
    DEFAULT_TENANT_ID,
    DeliveryBatch,
    DeliveryLog,
    Notification,
    Receipt,
    Skip,
)
from app.notifications import repository as notifications
from tests.support.ledger import add_deliveries

COUNTS = {"sent": 4, "failed": 2, "expired": 1}
NOTHING = {"push_delivery_logs": 0, "push_receipts": 0, "push_skips": 0, "push_delivery_batches": 0}


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
