"""The one statement that plans a page of an audience: its batches, and a pending row for each recipient.

All of it happens in the database: to bring a recipient here and back costs ten times as much.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Insert,
    Integer,
    Select,
    Text,
    Uuid,
    cast,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from app.delivery.targeting import audience_of
from app.ids import id_prefix
from app.models import BatchState, DeliveryBatch, DeliveryLog, DeliveryStatus, Notification, Subscription

# A TTL of 0 means now or never (RFC 8030 section 5.2); this is how long "now" lasts for us.
SHORTEST_DEADLINE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Page:
    """What was planned: the batches, how many recipients they have together, and the id of the last of these."""

    batch_ids: list[UUID]
    size: int
    last_id: UUID | None


def add_page(
    session: Session, notification: Notification, *, size: int, batch_size: int, hold_back: timedelta
) -> Page:
    """Plan the next `size` recipients after the notification's cursor, or those that are left."""
    batch_ids, planned, last_id = session.execute(_statement(notification, size, batch_size, hold_back)).one()
    return Page(batch_ids or [], planned, last_id)


def deadline_of(notification: Notification) -> datetime:
    """Return when a delivery is too late: past it, nothing is sent."""
    return notification.accepted_at + max(timedelta(seconds=notification.ttl_seconds), SHORTEST_DEADLINE)


def _statement(notification: Notification, size: int, batch_size: int, hold_back: timedelta) -> Select[Any]:
    page = _next_recipients(notification, size).cte("page")
    service = (page.c.endpoint_host, page.c.vapid_key_id)
    place = func.row_number().over(partition_by=service, order_by=page.c.id) - 1
    recipient = select(page, (place // batch_size).label("part")).cte("recipient")
    part = (recipient.c.endpoint_host, recipient.c.vapid_key_id, recipient.c.part)
    batch = select(_new_id().label("id"), *part, func.count().label("size")).group_by(*part).cte("batch")
    in_batch = recipient.join(
        batch,
        (batch.c.endpoint_host == recipient.c.endpoint_host)
        & (batch.c.vapid_key_id == recipient.c.vapid_key_id)
        & (batch.c.part == recipient.c.part),
    )
    of_notification: dict[str, ColumnElement[Any]] = {
        "tenant_id": literal(notification.tenant_id),
        "notification_id": literal(notification.id),
        "planned_at": literal(notification.accepted_at),
    }
    add_batches = _insert(
        DeliveryBatch,
        batch,
        {
            **of_notification,
            "id": batch.c.id,
            "endpoint_host": batch.c.endpoint_host,
            "vapid_key_id": batch.c.vapid_key_id,
            "size": batch.c.size,
            # At least as many as this lane got by the pages before: that is all that their order asks for.
            "position": notification.planned_count // batch_size + cast(batch.c.part, Integer),
            "state": literal(BatchState.READY.value, Text),
            "not_before": func.now() + hold_back,
        },
    )
    add_rows = _insert(
        DeliveryLog,
        in_batch,
        {
            **of_notification,
            "id": _new_id(),
            "batch_id": batch.c.id,
            "subscription_id": recipient.c.id,
            "status": literal(DeliveryStatus.PENDING.value, Text),
            "deadline": literal(deadline_of(notification)),
        },
    )
    return select(
        select(func.array_agg(aggregate_order_by(batch.c.id, batch.c.part))).scalar_subquery(),
        select(func.count()).select_from(page).scalar_subquery(),
        select(page.c.id).order_by(page.c.id.desc()).limit(1).scalar_subquery(),
    ).add_cte(add_batches.cte("add_batches"), add_rows.cte("add_rows"))


def _next_recipients(notification: Notification, size: int) -> Select[UUID, str, UUID]:
    # Served by ix_push_subscriptions_active for a broadcast.
    query = (
        select(Subscription.id, Subscription.endpoint_host, Subscription.vapid_key_id)
        .where(audience_of(notification))
        .order_by(Subscription.id)
        .limit(size)
    )
    if notification.planning_cursor is not None:
        query = query.where(Subscription.id > notification.planning_cursor)
    return query


def _insert(table: Any, source: FromClause, values: Mapping[str, ColumnElement[Any]]) -> Insert:
    return insert(table).from_select(list(values), select(*values.values()).select_from(source))


def _new_id() -> ColumnElement[UUID]:
    """Return SQL for a UUIDv7 of now: its first half as ids.py makes it, the rest from one of version 4."""
    prefix = id_prefix()
    rest = func.substr(cast(func.gen_random_uuid(), Text), len(prefix) + 1)
    return cast(literal(prefix).concat(rest), Uuid)
