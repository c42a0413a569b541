"""When a notification is done: nobody left to plan, and no batch open. Before that, when everybody was tried."""

from uuid import UUID

from sqlalchemy import exists, select, text
from sqlalchemy.orm import Session

from app.models import BatchState, DeliveryBatch, Notification, NotificationState

_LOCK = text("SELECT state FROM push_notifications WHERE id = :id FOR NO KEY UPDATE")
_FINISH = text(
    """
    UPDATE push_notifications
    SET state = CASE state WHEN 'sending' THEN 'sent' ELSE state END, finished_at = now()
    WHERE id = :id
      AND state IN ('sending', 'cancelled')
      AND finished_at IS NULL
      AND NOT EXISTS (
          SELECT FROM push_delivery_batches WHERE notification_id = :id AND state <> 'closed'
      )
    """
)


def finish_if_done(session: Session, notification_id: UUID) -> NotificationState:
    """Mark the notification sent once its last batch is closed; a cancelled one is only finished then.

    Returns the state that it had. Takes the row's lock first: of two workers closing the last two batches at once,
    the later one sees both closed.
    """
    state = session.execute(_LOCK, {"id": notification_id}).scalar_one()
    session.execute(_FINISH, {"id": notification_id})
    return NotificationState(state)


def is_everybody_tried(session: Session, notification_id: UUID) -> bool:
    """Return whether everybody is planned and was tried once, or settled otherwise; some may wait for a retry."""
    is_open = exists().where(
        DeliveryBatch.notification_id == notification_id,
        DeliveryBatch.attempt == 1,
        DeliveryBatch.state != BatchState.CLOSED,
    )
    is_planned = exists().where(
        Notification.id == notification_id, Notification.state != NotificationState.PLANNING
    )
    return session.scalars(select(is_planned & ~is_open)).one()
