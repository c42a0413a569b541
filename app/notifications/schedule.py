"""Scheduled notifications: stored until their time, then released to the workers like any other.

Their audience is chosen at their release, and their TTL counts from then.
"""

from datetime import timedelta
from functools import lru_cache

from sqlalchemy import Update, func, select, update
from sqlalchemy.orm import Session

from app.models import Notification, NotificationState

LONGEST_WAIT = timedelta(days=366)  # a year, leap years included
RELEASED_AT_ONCE = 100


def release_due(session: Session) -> int:
    """Let workers plan the scheduled notifications whose time has come, and return how many those were.

    At most RELEASED_AT_ONCE, the longest due first: after so many there may be more. Several workers release
    different ones; one that is being cancelled is left alone.
    """
    return len(session.execute(_release(RELEASED_AT_ONCE)).all())


@lru_cache(maxsize=1)
def _release(at_most: int) -> Update:
    # Built once, for every look of every worker asks. Served by ix_push_notifications_unfinished.
    due = (
        select(Notification.id)
        .where(Notification.state == NotificationState.SCHEDULED, Notification.scheduled_at <= func.now())
        .order_by(Notification.scheduled_at)
        .limit(at_most)
        .with_for_update(key_share=True, skip_locked=True)
        .cte("due")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    return (
        update(Notification)
        .where(Notification.id == due.c.id)
        .values(state=NotificationState.PLANNING, accepted_at=func.now(), plan_after=func.now())
        .returning(Notification.id)
        .execution_options(synchronize_session=False)
    )
