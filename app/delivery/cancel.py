"""Cancelling: the notification is marked at once, however large; what is pending of it is settled batch by batch.

Whoever claims a batch, or holds one, sees the mark: claim.begin settles it (see settle.py), claim.renew begins
nothing further. What is in flight at that moment is recorded as it comes.
"""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.delivery.finish import finish_if_done
from app.models import Notification, NotificationState

_HASTEN = text(
    """
    WITH waiting AS MATERIALIZED (
        SELECT batch.id
        FROM push_notifications AS notification
        JOIN push_delivery_batches AS batch ON batch.notification_id = notification.id
        WHERE notification.id = :notification_id AND notification.state = 'cancelled'
          AND batch.state = 'ready' AND batch.not_before > now()
        FOR NO KEY UPDATE OF batch SKIP LOCKED
    )
    UPDATE push_delivery_batches AS batch SET not_before = now() FROM waiting WHERE batch.id = waiting.id
    """
)


def cancel(session: Session, notification: Notification) -> None:
    """Stop a notification that is not sent yet: nothing of it is planned, claimed or tried again from now on.

    The caller holds its row FOR UPDATE. That waits for whoever is just adding a batch to it, planned or for retry;
    who adds one later sees the mark. So none is left waiting for its time.
    """
    if notification.state == NotificationState.CANCELLED:
        return
    notification.state = NotificationState.CANCELLED
    notification.targeted = notification.planned_count
    session.flush()
    hasten_if_cancelled(session, notification.id)
    finish_if_done(session, notification.id)


def hasten_if_cancelled(session: Session, notification_id: UUID) -> None:
    """Let the batches of a cancelled notification that wait for their time be settled now.

    Passes over those that somebody is just working on: he sees to them himself.
    """
    session.execute(_HASTEN, {"notification_id": notification_id})
