"""Rows about one user of a tenant, in any table but the ledger's."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import Row, Text, Uuid, any_, cast, delete, func, literal, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from app.db.arrays import plain_array
from app.models import DeliveryLog, Notification, Receipt, Subscription
from app.users.cursor import Cursor

NOTIFICATIONS_AT_ONCE = 200
RECEIPTS_AT_ONCE = 5_000

# By ix_push_notifications_tenant_id_created_at: no index knows whom a notification named.
_WALK = """
    WITH page AS MATERIALIZED (
        SELECT id, created_at
        FROM push_notifications
        WHERE tenant_id = :tenant_id AND (created_at, id) > (:after, :after_id)
        ORDER BY created_at, id
        LIMIT :limit
    ), named AS MATERIALIZED (
        SELECT notification.id
        FROM push_notifications AS notification
        JOIN page ON page.id = notification.id
        WHERE notification.target_user_ids @> ARRAY[CAST(:user_id AS text)]
           OR EXISTS (
               SELECT FROM unnest(notification.target_subscription_ids) AS target(id)
               JOIN unnest(CAST(:subscription_ids AS uuid[])) AS own(id) ON own.id = target.id
           )
        ORDER BY notification.id
        {lock}
    ), {told}
    SELECT (SELECT array_agg(id) FROM told) AS named,
           (SELECT created_at FROM page ORDER BY created_at DESC, id DESC LIMIT 1) AS last,
           (SELECT id FROM page ORDER BY created_at DESC, id DESC LIMIT 1) AS last_id
"""
_FORGOTTEN = """
    told AS (
        UPDATE push_notifications AS notification
        SET target_user_ids = array_remove(notification.target_user_ids, CAST(:user_id AS text)),
            target_subscription_ids = CASE WHEN notification.target_subscription_ids IS NOT NULL THEN ARRAY(
                SELECT target.id
                FROM unnest(notification.target_subscription_ids) WITH ORDINALITY AS target(id, place)
                WHERE NOT EXISTS (
                    SELECT FROM unnest(CAST(:subscription_ids AS uuid[])) AS own(id) WHERE own.id = target.id
                )
                ORDER BY target.place
            ) END
        FROM named
        WHERE notification.id = named.id
        RETURNING notification.id
    )
"""
_NAMED = text(_WALK.format(lock="", told="told AS (SELECT id FROM named)"))
_FORGET = text(_WALK.format(lock="FOR NO KEY UPDATE OF notification", told=_FORGOTTEN))
_FORGET_SKIPS = text(
    """
    DELETE FROM push_skips AS skip
    USING unnest(CAST(:subscription_ids AS uuid[])) AS own(id)
    WHERE skip.tenant_id = :tenant_id AND skip.subscription_id = own.id
    RETURNING 1
    """
)
_FORGET_RECEIPTS = text(
    """
    DELETE FROM push_receipts WHERE id IN (
        SELECT receipt.id
        FROM unnest(CAST(:subscription_ids AS uuid[])) AS own(id)
        JOIN push_receipts AS receipt ON receipt.subscription_id = own.id
        LIMIT :limit
    )
    RETURNING 1
    """
)
# Without a stored answer, and without a time until which one is expected, the key is answered from the ledger.
_FORGET_ANSWERS = text(
    """
    WITH answer AS MATERIALIZED (
        SELECT tenant_id, key
        FROM push_idempotency_keys
        WHERE tenant_id = :tenant_id AND notification_id = ANY(CAST(:notification_ids AS uuid[]))
        ORDER BY key
        FOR NO KEY UPDATE
    )
    UPDATE push_idempotency_keys AS stored
    SET response_status = NULL, response_body = NULL, locked_until = NULL
    FROM answer
    WHERE stored.tenant_id = answer.tenant_id AND stored.key = answer.key
    """
)


@dataclass(frozen=True, slots=True)
class Place:
    """How far a walk over a tenant's notifications has come."""

    created_at: datetime
    notification_id: UUID


START = Place(datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))


@dataclass(frozen=True, slots=True)
class Named:
    """Which notifications of a page name the user, and where the next page begins; None at the end."""

    notification_ids: list[UUID]
    place: Place | None


def subscriptions_of(session: Session, tenant_id: UUID, user_id: str) -> list[Subscription]:
    """Return all of the user's, also those that are deleted, gone or in quarantine, in the order of their ids."""
    # Served by ix_push_subscriptions_tenant_id_user_id.
    return list(
        session.scalars(
            select(Subscription)
            .where(Subscription.tenant_id == tenant_id, Subscription.user_id == user_id)
            .order_by(Subscription.id)
        )
    )


def subscription_ids_of(session: Session, tenant_id: UUID, user_id: str) -> list[UUID]:
    """Return the ids of all of the user's, also deleted ones, in their order."""
    return list(
        session.scalars(
            select(Subscription.id)
            .where(Subscription.tenant_id == tenant_id, Subscription.user_id == user_id)
            .order_by(Subscription.id)
        )
    )


def mark_deleted(session: Session, subscription_ids: Collection[UUID]) -> None:
    """Soft-delete those that are not yet: from now on nothing is planned for them, and nothing claimed."""
    ids = _lock(session, subscription_ids)
    session.execute(
        update(Subscription)
        .where(Subscription.id.in_(ids), Subscription.deleted_at.is_(None))
        .values(deleted_at=func.now(), updated_at=func.now())
        .execution_options(synchronize_session=False)
    )


def delete_for_good(session: Session, subscription_ids: Collection[UUID]) -> int:
    """Delete the rows and return how many there were."""
    ids = _lock(session, subscription_ids)
    session.execute(
        delete(Subscription).where(Subscription.id.in_(ids)).execution_options(synchronize_session=False)
    )
    return len(ids)


def named_in(
    session: Session, tenant_id: UUID, user_id: str, subscription_ids: Collection[UUID], after: Place
) -> Named:
    """Return which of the next NOTIFICATIONS_AT_ONCE name the user, or a subscription of the user's."""
    return _named(session.execute(_NAMED, _walk(tenant_id, user_id, subscription_ids, after)).one())


def forget_targets(
    session: Session, tenant_id: UUID, user_id: str, subscription_ids: Collection[UUID], after: Place
) -> Named:
    """Take the user, and the user's subscriptions, off the targets of the next NOTIFICATIONS_AT_ONCE.

    One that named nobody else is for nobody then: its lists are empty, and it is no broadcast.
    """
    return _named(session.execute(_FORGET, _walk(tenant_id, user_id, subscription_ids, after)).one())


def forget_skips(session: Session, tenant_id: UUID, subscription_ids: Collection[UUID]) -> int:
    values = {"tenant_id": tenant_id, "subscription_ids": plain_array(subscription_ids)}
    return len(session.execute(_FORGET_SKIPS, values).all())


def forget_receipts(session: Session, subscription_ids: Collection[UUID]) -> int:
    """Delete RECEIPTS_AT_ONCE at most, and return how many."""
    values = {"subscription_ids": plain_array(subscription_ids), "limit": RECEIPTS_AT_ONCE}
    return len(session.execute(_FORGET_RECEIPTS, values).all())


def forget_answers(session: Session, tenant_id: UUID, notification_ids: Collection[UUID]) -> None:
    """Forget what sends of these notifications were answered: the deliveries of a small one are listed there.

    Asked again with its key, such a send is answered from the ledger, as it is now.
    """
    values = {"tenant_id": tenant_id, "notification_ids": plain_array(notification_ids)}
    session.execute(_FORGET_ANSWERS, values)


def deliveries_of(
    session: Session, subscription_ids: Sequence[UUID], *, after: Cursor | None, limit: int
) -> list[DeliveryLog]:
    """Return deliveries to these subscriptions, the newest first, those after the cursor."""
    key = (DeliveryLog.planned_at, DeliveryLog.notification_id, DeliveryLog.subscription_id)
    own = cast(literal(plain_array(subscription_ids), Text), ARRAY(Uuid))
    # Served by ix_push_delivery_logs_subscription_id in each partition.
    query = select(DeliveryLog).where(DeliveryLog.subscription_id == any_(own))
    if after is not None:
        query = query.where(tuple_(*key) < tuple_(after.planned_at, after.notification_id, after.subscription_id))
    return list(session.scalars(query.order_by(*(column.desc() for column in key)).limit(limit)))


def notifications_of(session: Session, notification_ids: Sequence[UUID]) -> list[Notification]:
    """Return these notifications, the newest first."""
    ids = cast(literal(plain_array(notification_ids), Text), ARRAY(Uuid))
    query = select(Notification).where(Notification.id == any_(ids))
    return list(session.scalars(query.order_by(Notification.created_at.desc(), Notification.id.desc())))


def receipts_of(session: Session, deliveries: Sequence[DeliveryLog]) -> list[Receipt]:
    """Return what browsers reported about these deliveries, the newest first."""
    rows = [(row.notification_id, row.subscription_id) for row in deliveries]
    # Served by the unique index that begins with these two.
    query = select(Receipt).where(tuple_(Receipt.notification_id, Receipt.subscription_id).in_(rows))
    return list(session.scalars(query.order_by(Receipt.received_at.desc(), Receipt.id)))


def _lock(session: Session, subscription_ids: Collection[UUID]) -> list[UUID]:
    return list(
        session.scalars(
            select(Subscription.id)
            .where(Subscription.id.in_(list(subscription_ids)))
            .order_by(Subscription.id)
            .with_for_update()
        )
    )


def _walk(tenant_id: UUID, user_id: str, subscription_ids: Collection[UUID], after: Place) -> dict[str, object]:
    return {
        "tenant_id": tenant_id,
        "user_id": user_id,
        "subscription_ids": plain_array(subscription_ids),
        "after": after.created_at,
        "after_id": after.notification_id,
        "limit": NOTIFICATIONS_AT_ONCE,
    }


def _named(row: Row[object]) -> Named:
    place = None if row.last_id is None else Place(row.last, row.last_id)
    return Named(list(row.named or ()), place)
