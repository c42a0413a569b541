"""Who is to get a notification: the audience's conditions, in one place for counting and for planning."""

from sqlalchemy import ColumnElement, Text, Uuid, and_, any_, cast, false, func, literal, or_, select, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from app.db.arrays import plain_array, text_array
from app.models import Notification, Subscription


def audience_of(notification: Notification) -> ColumnElement[bool]:
    """Return the condition on subscriptions: of the tenant, active, there at `accepted_at`, and meant.

    Topics, users and subscriptions are a union; somebody who matches twice is still one row.
    """
    return and_(
        Subscription.tenant_id == notification.tenant_id,
        is_active(),
        Subscription.created_at <= notification.accepted_at,
        _is_meant_by(notification),
    )


def is_active() -> ColumnElement[bool]:
    """Return the condition for a subscription that can be sent to. Written as the partial indexes have it."""
    return and_(Subscription.enabled, Subscription.deleted_at.is_(None), Subscription.gone_at.is_(None))


def is_larger_than(session: Session, notification: Notification, limit: int) -> bool:
    """Return whether the audience has more than `limit` members, looking at no more rows than that takes."""
    some = select(Subscription.id).where(audience_of(notification)).limit(limit + 1).subquery()
    return session.scalars(select(func.count()).select_from(some)).one() > limit


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
