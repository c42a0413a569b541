"""What became of one user's notifications, delivery by delivery, with what their browsers reported."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from app.models import DeliveryLog, DeliveryStatus, Notification, NotificationState, Receipt, Subscription


@dataclass(frozen=True, slots=True)
class Story:
    """A notification, its delivery to one browser, and that browser's receipts by event.

    No delivery: it waits for its time.
    """

    notification: Notification
    delivery: DeliveryLog | None = None
    receipts: Mapping[str, Receipt] = field(default_factory=dict)


def newest_stories(session: Session, tenant_id: UUID, user_id: str, *, limit: int) -> list[Story]:
    """Return those of a user's browsers, and what is scheduled for nobody but them, the newest first.

    Of several deliveries of a notification, as to a browser and to what it was subscribed with before: the one that
    got further.
    """
    found = session.execute(
        select(Notification, DeliveryLog)
        .join(
            DeliveryLog,
            (DeliveryLog.planned_at == Notification.accepted_at) & (DeliveryLog.notification_id == Notification.id),
        )
        .join(Subscription, Subscription.id == DeliveryLog.subscription_id)
        .where(Subscription.tenant_id == tenant_id, Subscription.user_id == user_id)
        .ext(distinct_on(DeliveryLog.planned_at, Notification.id))
        .order_by(
            *(DeliveryLog.planned_at.desc(), Notification.id.desc()),
            DeliveryLog.status.in_((DeliveryStatus.SENT, DeliveryStatus.DELIVERED)).desc(),
        )
        .limit(limit)
    ).all()
    waiting = session.scalars(
        select(Notification)
        .where(
            Notification.tenant_id == tenant_id,
            Notification.state == NotificationState.SCHEDULED,
            Notification.target_user_ids == [user_id],
        )
        .order_by(Notification.scheduled_at.desc())
        .limit(limit)
    ).all()
    receipts = _receipts_of(session, [delivery for _, delivery in found])
    return [
        *(Story(notification) for notification in waiting),
        *(Story(notification, delivery, receipts[_name(delivery)]) for notification, delivery in found),
    ]


def _receipts_of(
    session: Session, deliveries: Sequence[DeliveryLog]
) -> Mapping[tuple[UUID, UUID], Mapping[str, Receipt]]:
    receipts: defaultdict[tuple[UUID, UUID], dict[str, Receipt]] = defaultdict(dict)
    named = tuple_(Receipt.notification_id, Receipt.subscription_id).in_([_name(each) for each in deliveries])
    for receipt in session.scalars(select(Receipt).where(named)):
        receipts[_name(receipt)][receipt.event] = receipt
    return receipts


def _name(row: DeliveryLog | Receipt) -> tuple[UUID, UUID]:
    return row.notification_id, row.subscription_id
