"""Who is to get a notification: the audience's conditions, in one place for counting and for planning."""

from psycopg2.errors import QueryCanceled
from sqlalchemy import ColumnElement, Text, Uuid, and_, any_, cast, false, func, literal, or_, select, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db.arrays import plain_array, text_array
from app.models import Notification, Subscription, VapidKey

COUNTED_WITHIN_MS = 1_000  # longer is too long for a request


def audience_of(notification: Notification) -> ColumnElement[bool]:
    """Return the condition on subscriptions: of the tenant, active, there at `accepted_at`, and meant.

    Nobody is in it whose VAPID key is retired: nothing can be sent to them. Topics, users and subscriptions are a
    union; somebody who matches twice is still one row.
    """
    return and_(
        Subscription.tenant_id == notification.tenant_id,
        is_active(),
        _has_a_key_that_signs(notification),
        Subscription.created_at <= notification.accepted_at,
        _is_meant_by(notification),
    )


def is_active() -> ColumnElement[bool]:
    """Return the condition for a subscription that can be sent to. Written as the partial indexes have it."""
    return and_(Subscription.enabled, Subscription.deleted_at.is_(None), Subscription.gone_at.is_(None))


def size_of_audience(session: Session, notification: Notification) -> int:
    """Return how many the notification would reach now. Reads them all: for people who wait for it."""
    members = select(func.count()).select_from(Subscription).where(audience_of(notification))
    return session.scalars(members).one()


def is_larger_than(session: Session, notification: Notification, limit: int) -> bool:
    """Return whether the audience has more than `limit` members, or takes too long to count."""
    some = select(Subscription.id).where(audience_of(notification)).limit(limit + 1).subquery()
    # Counting stops at the limit. But the first members of a topic may be at the end of a large table: PostgreSQL,
    # which takes them for spread evenly, then reads all of it. The savepoint brings the time limit of before back.
    savepoint = session.begin_nested()
    try:
        session.execute(select(func.set_config("statement_timeout", str(COUNTED_WITHIN_MS), True)))
        return session.scalars(select(func.count()).select_from(some)).one() > limit
    except OperationalError as error:
        if not isinstance(error.orig, QueryCanceled):
            raise
        return True
    finally:
        savepoint.rollback()


def _has_a_key_that_signs(notification: Notification) -> ColumnElement[bool]:
    # Looked up once for all of them, and mostly there is none.
    retired = select(VapidKey.id).where(
        VapidKey.tenant_id == notification.tenant_id, VapidKey.retired_at.is_not(None)
    )
    return Subscription.vapid_key_id.not_in(retired)


def _is_meant_by(notification: Notification) -> ColumnElement[bool]:
    if notification.is_broadcast:
        return true()
    # Ten thousand ids come as one array, in one string: as ten thousand parameters they take ten times as long.
    ways: list[ColumnElement[bool]] = []
    if notification.target_topics:
        ways.append(Subscription.topics.overlap(notification.target_topics))
    if notification.target_user_ids:
        user_ids = cast(literal(text_array(notification.target_user_ids), Text), ARRAY(Text))
        ways.append(Subscription.user_id == any_(user_ids))
    if notification.target_subscription_ids:
        subscription_ids = cast(literal(plain_array(notification.target_subscription_ids), Text), ARRAY(Uuid))
        ways.append(Subscription.id == any_(subscription_ids))
    return or_(false(), *ways)
