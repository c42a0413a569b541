"""When a notification is done: nobody left to plan, and no batch open. Before that, when everybody was tried."""

from uuid import UUID

from sqlalchemy import case, exists, func, select, update
from sqlalchemy.orm import Session

from app.models import BatchState, DeliveryBatch, Notification, NotificationState

_ENDING = (NotificationState.SENDING, NotificationState.CANCELLED)


def finish_if_done(session: Session, notification_id: UUID) -> NotificationState:
    """Mark the notification sent once its last batch is closed; a cancelled one is only finished then.

    Return the state that it had.

    Takes the row's lock first: of two workers closing the last two batches at once, the later one sees both
    closed.
    """
    state = session.scalars(
        select(Notification.state).where(Notification.id == notification_id).with_for_update(key_share=True)
    ).one()
    has_open_batch = exists().where(
        DeliveryBatch.notification_id == notification_id, DeliveryBatch.state != BatchState.CLOSED
    )
    session.execute(
        update(Notification)
        .where(
            Notification.id == notification_id,
            Notification.state.in_(_ENDING),
            Notification.finished_at.is_(None),
            ~has_open_batch,
        )
        .values(
            state=case(
                (Notification.state == NotificationState.SENDING, NotificationState.SENT), else_=Notification.state
            ),
            finished_at=func.now(),
        )
    )
    return state


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
