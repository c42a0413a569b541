"""Queries about notifications and their deliveries, always within one tenant."""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, text
from sqlalchemy.orm import Session

from app.db.arrays import plain_array
from app.models import DeliveryLog, DeliveryStatus, Notification, NotificationState

StatusCounts = dict[str, int]

_SETTLED_STATUSES = tuple(status for status in DeliveryStatus if status is not DeliveryStatus.PENDING)

# A closed batch has counts of its own. What is to be counted by rows are those that somebody has had and that are
# open, a few for each worker, and those that an earlier version closed; the rest is pending as a whole. Rows are
# found by ix_push_delivery_logs_batch_id, and nothing else is said of them: told the month as well, PostgreSQL
# reads all that the month has.
_SETTLED = text(
    """
    SELECT notification.id, notification.planned_count,
           (batches.sent + coalesce(by_rows.sent, 0) + without.sent)::bigint AS sent,
           (batches.delivered + coalesce(by_rows.delivered, 0) + without.delivered)::bigint AS delivered,
           (batches.failed + coalesce(by_rows.failed, 0) + without.failed)::bigint AS failed,
           (batches.expired + coalesce(by_rows.expired, 0) + without.expired)::bigint AS expired
    FROM push_notifications AS notification
    CROSS JOIN LATERAL (
        SELECT count(*) AS number,
               coalesce(sum(sent_count), 0) AS sent,
               coalesce(sum(delivered_count), 0) AS delivered,
               coalesce(sum(failed_count), 0) AS failed,
               coalesce(sum(expired_count), 0) AS expired,
               array_agg(id) FILTER (
                   WHERE sent_count IS NULL AND (state <> 'ready' OR claimed_at IS NOT NULL)
               ) AS uncounted
        FROM push_delivery_batches
        WHERE notification_id = notification.id
    ) AS batches
    CROSS JOIN LATERAL (
        SELECT sum(part.sent) AS sent, sum(part.delivered) AS delivered, sum(part.failed) AS failed,
               sum(part.expired) AS expired
        FROM unnest(batches.uncounted) AS batch(id)
        CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE status = 'sent') AS sent,
                   count(*) FILTER (WHERE status = 'delivered') AS delivered,
                   count(*) FILTER (WHERE status = 'failed') AS failed,
                   count(*) FILTER (WHERE status = 'expired') AS expired
            FROM push_delivery_logs AS log
            WHERE log.batch_id = batch.id
        ) AS part
    ) AS by_rows
    -- Rows that outlived their batches, all of them.
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE status = 'sent') AS sent,
               count(*) FILTER (WHERE status = 'delivered') AS delivered,
               count(*) FILTER (WHERE status = 'failed') AS failed,
               count(*) FILTER (WHERE status = 'expired') AS expired
        FROM push_delivery_logs AS log
        WHERE batches.number = 0
          AND log.planned_at = notification.accepted_at AND log.notification_id = notification.id
    ) AS without
    WHERE notification.id = ANY(CAST(:ids AS uuid[]))
    """
)


def find(
    session: Session, tenant_id: UUID, notification_id: UUID, *, for_update: bool = False
) -> Notification | None:
    """Return the tenant's notification, locked if wanted until the transaction ends."""
    query = select(Notification).where(Notification.tenant_id == tenant_id, Notification.id == notification_id)
    return session.scalars(query.with_for_update() if for_update else query).one_or_none()


def find_by_key(session: Session, tenant_id: UUID, key: str) -> UUID | None:
    """Return the id of the tenant's newest notification with this idempotency key."""
    # Served by ix_push_notifications_tenant_id_idempotency_key.
    return session.scalars(
        select(Notification.id)
        .where(Notification.tenant_id == tenant_id, Notification.idempotency_key == key)
        .order_by(Notification.created_at.desc())
        .limit(1)
    ).one_or_none()


def counts_of(session: Session, notifications: Sequence[Notification]) -> dict[UUID, StatusCounts]:
    """Return the deliveries of each notification by status: frozen ones as frozen, the others as they are now.

    What is not settled is pending: exact at every moment, as it is all of one snapshot, and cheap for a million.
    """
    counts: dict[UUID, StatusCounts] = defaultdict(dict)
    live = []
    for notification in notifications:
        if notification.frozen_counts is not None:
            counts[notification.id] = dict(notification.frozen_counts)
        else:
            live.append(notification.id)
    if live:
        for row in session.execute(_SETTLED, {"ids": plain_array(live)}):
            numbers: StatusCounts = {status: getattr(row, status) for status in _SETTLED_STATUSES}
            numbers[DeliveryStatus.PENDING] = row.planned_count - sum(numbers.values())
            counts[row.id] = {status: number for status, number in numbers.items() if number}
    return counts


def history(
    session: Session, tenant_id: UUID, *, offset: int, limit: int, type_: str | None, status: str | None
) -> tuple[list[Notification], int]:
    """Return a page of notifications, newest first, and how many there are in all."""
    conditions: list[ColumnElement[bool]] = [Notification.tenant_id == tenant_id]
    if type_ is not None:
        conditions.append(Notification.type == type_)
    if status is not None:
        conditions.append(_has_status(status))
    # Served by ix_push_notifications_tenant_id_created_at, with a type by ix_push_notifications_tenant_id_type.
    items = session.scalars(
        select(Notification)
        .where(*conditions)
        .order_by(Notification.created_at.desc(), Notification.id.desc())
        .offset(offset)
        .limit(limit)
    )
    total = session.scalars(select(func.count()).select_from(Notification).where(*conditions)).one()
    return list(items), total


def deliveries(
    session: Session, notification: Notification, *, after: UUID | None, limit: int, status: DeliveryStatus | None
) -> list[DeliveryLog]:
    """Return deliveries in the order of their subscriptions' ids, those after `after`."""
    query = select(DeliveryLog).where(
        DeliveryLog.planned_at == notification.accepted_at, DeliveryLog.notification_id == notification.id
    )
    if after is not None:
        query = query.where(DeliveryLog.subscription_id > after)
    if status is not None:
        query = query.where(DeliveryLog.status == status)
    return list(session.scalars(query.order_by(DeliveryLog.subscription_id).limit(limit)))


def _has_status(status: str) -> ColumnElement[bool]:
    """Return the condition for a notification's own state, or for having a delivery of that status.

    `sent` is both; as a filter it means the notification's. Those with pending deliveries are the unfinished ones,
    and the cancelled ones that are not all settled. Frozen counts name what there was of each status, and no zeros.
    """
    if status in set(NotificationState):
        return Notification.state == status
    if status == DeliveryStatus.PENDING:
        return or_(
            Notification.state.in_((NotificationState.PLANNING, NotificationState.SENDING)),
            and_(Notification.state == NotificationState.CANCELLED, Notification.finished_at.is_(None)),
        )
    has_row = exists().where(
        DeliveryLog.planned_at == Notification.accepted_at,
        DeliveryLog.notification_id == Notification.id,
        DeliveryLog.status == status,
    )
    return or_(has_row, Notification.frozen_counts[status].as_string().is_not(None))
