"""Deliveries that browsers report on, and what the ledger says of them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.session import SessionFactory, transaction
from app.delivery import audit, closing
from app.delivery.report import Event, Report, Verdict
from app.delivery.token import DeliveryKey
from app.models import DeliveryBatch, DeliveryLog, DeliveryStatus, Notification, Receipt
from app.notifications.repository import counts_of
from app.receipts.service import record
from tests.support.ledger import add_deliveries

PLANNED_AGO = timedelta(minutes=10)


def deliveries(
    sessions: SessionFactory,
    counts: Mapping[str, int],
    *,
    counted: bool = True,
    planned_ago: timedelta = PLANNED_AGO,
) -> list[DeliveryKey]:
    """Plan deliveries of one notification with these statuses, in the order of these; return their keys.

    With none pending their batch is closed: `counted`, or as an early version did it.
    """
    planned_at = datetime.now(UTC) - planned_ago
    with transaction(sessions) as session:
        notification_id = add_deliveries(session, planned_at=planned_at, counts=counts, reason="gone")
        if counted and not counts.get("pending"):
            closing.close_all(session, batch_ids_of(session, notification_id), planned_at=planned_at)
        rows = session.execute(
            select(DeliveryLog.subscription_id, DeliveryLog.status).where(
                DeliveryLog.notification_id == notification_id
            )
        ).all()
    in_order = sorted(rows, key=lambda row: (list(counts).index(row.status), row.subscription_id))
    return [DeliveryKey(planned_at, notification_id, row.subscription_id) for row in in_order]


def batch_ids_of(session: Session, notification_id: UUID) -> list[UUID]:
    return list(session.scalars(select(DeliveryBatch.id).where(DeliveryBatch.notification_id == notification_id)))


def batch_of(sessions: SessionFactory, delivery: DeliveryKey) -> DeliveryBatch:
    with transaction(sessions) as session:
        return session.get_one(DeliveryBatch, row_of(sessions, delivery).batch_id)


def row_of(sessions: SessionFactory, delivery: DeliveryKey) -> DeliveryLog:
    with transaction(sessions) as session:
        key = (delivery.planned_at, delivery.notification_id, delivery.subscription_id)
        return session.get_one(DeliveryLog, key)


def receipts_of(sessions: SessionFactory, delivery: DeliveryKey) -> list[Receipt]:
    with transaction(sessions) as session:
        stored = select(Receipt).where(
            Receipt.notification_id == delivery.notification_id, Receipt.subscription_id == delivery.subscription_id
        )
        return list(session.scalars(stored.order_by(Receipt.event)))


def displayed(delivery: DeliveryKey, *, seconds_ago: float = 0.0) -> Report:
    return Report(delivery, Event.DISPLAYED, seconds_ago=seconds_ago)


def verdicts(sessions: SessionFactory, *reports: Report) -> list[Verdict]:
    """Write these reports, and return what became of each."""
    return [written.verdict for written in record(sessions, reports)]


def adds_up(sessions: SessionFactory, delivery: DeliveryKey) -> bool:
    """Return whether its notification's ledger adds up, and its counts are those of the rows."""
    with audit.snapshot(sessions) as session:
        report = audit.examine(session, only=delivery.notification_id)
        counts = counts_of(session, [session.get_one(Notification, delivery.notification_id)])
    by_status = {DeliveryStatus(status): number for status, number in counts[delivery.notification_id].items()}
    return report.adds_up and by_status == {status: number for status, number in report.by_status.items() if number}
