"""Queries about notifications and their deliveries, always within one tenant."""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, tuple_
from sqlalchemy.orm import Session

from app.models import DeliveryLog, DeliveryStatus, Notification, NotificationState

StatusCounts = dict[str, int]


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
    """Return the deliveries of each notification by status: frozen ones as frozen, the others as they are now."""
    counts: dict[UUID, StatusCounts] = defaultdict(dict)
    live = []
    for notification in notifications:
        if notification.frozen_counts is not None:
            counts[notification.id] = dict(notification.frozen_counts)
        else:
            live.append((notification.accepted_at, notification.id))
    if live:
        # Served by the primary key, whose first two columns these are. Grouped by its order alone: by status, too,
        # a million rows would be sorted first.
        by_status = [func.count().filter(DeliveryLog.status == status) for status in DeliveryStatus]
        rows = session.execute(
            select(DeliveryLog.notification_id, *by_status)
            .where(tuple_(DeliveryLog.planned_at, DeliveryLog.notification_id).in_(live))
            .group_by(DeliveryLog.notification_id)
        )
        for notification_id, *numbers in rows:
            by_name = zip(DeliveryStatus, numbers, strict=True)
            counts[notification_id] = {status: number for status, number in by_name if number}
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
    and the cancelled ones that are not all settled.
    """
    if status in set(NotificationState):
        return Notification.state == status
    if status == DeliveryStatus.PENDING:
        return or_(
            Notification.state.in_((NotificationState.PLANNING, NotificationState.SENDING)),
            and_(Notification.state == NotificationState.CANCELLED, Notification.finished_at.is_(None)),
        )
    return exists().where(
        DeliveryLog.planned_at == Notification.accepted_at,
        DeliveryLog.notification_id == Notification.id,
        DeliveryLog.status == status,
    )
