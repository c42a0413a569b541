"""Planning: one pending delivery row per recipient, in batches of one push service and one VAPID key.

Goes by keyset pages, each one transaction, so that it can be resumed by anybody from `planning_cursor`.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.delivery.finish import finish_if_done
from app.delivery.page import add_page
from app.delivery.partitions import ensure_partitions
from app.delivery.retry import when_put_off
from app.models import Drain, Notification, NotificationState

PAGE_SIZE = 2_000
BATCH_SIZE = 500

_NEXT_TO_PLAN = (
    select(Notification.id)
    .where(
        Notification.state == NotificationState.PLANNING,
        Notification.plan_after <= func.now(),
        ~select(Drain.id).exists(),
    )
    .order_by(Notification.planned_count, Notification.accepted_at)
    .limit(1)
    .with_for_update(key_share=True, skip_locked=True)
)


@dataclass(frozen=True, slots=True)
class PlannedPage:
    """What one page added. `is_last` means that the whole audience is planned."""

    batch_ids: list[UUID]
    is_last: bool


def plan_page(session: Session, notification_id: UUID, *, hold_back: timedelta = timedelta()) -> PlannedPage:
    """Plan the next page of a notification's audience.

    `hold_back` keeps workers from the new batches for so long: the request that plans inline runs them itself.
    A notification that is not being planned (any more) is left as it is.
    """
    notification = _locked(session, notification_id)
    if notification is None or notification.state != NotificationState.PLANNING:
        return PlannedPage([], is_last=True)
    ensure_partitions(session, notification.accepted_at)
    page = add_page(session, notification, size=PAGE_SIZE, batch_size=BATCH_SIZE, hold_back=hold_back)
    notification.planned_count += page.size
    is_last = page.size < PAGE_SIZE
    if is_last:
        notification.targeted = notification.planned_count
        notification.state = NotificationState.SENDING
    else:
        notification.planning_cursor = page.last_id
    session.flush()
    if is_last:
        finish_if_done(session, notification_id)
    return PlannedPage(page.batch_ids, is_last=is_last)


def next_to_plan(session: Session) -> UUID | None:
    """Return a notification whose planning a worker should go on with, or None; while draining, there is none.

    The one least planned so far: a small one does not wait until a large one is done. It is locked until the
    transaction ends: workers that ask at once are shown different ones.
    """
    return session.scalars(_NEXT_TO_PLAN).one_or_none()


def put_off(session: Session, notification_id: UUID) -> None:
    """Let a notification that could not be planned wait, longer each time, so that it holds up no other."""
    session.execute(
        update(Notification)
        .where(Notification.id == notification_id, Notification.state == NotificationState.PLANNING)
        .values(plan_after=when_put_off(Notification.accepted_at))
    )


def _locked(session: Session, notification_id: UUID) -> Notification | None:
    return session.scalars(
        select(Notification).where(Notification.id == notification_id).with_for_update(key_share=True)
    ).one_or_none()
