"""Planning: one pending delivery row per recipient, in batches of one push service and one VAPID key.

Goes by keyset pages, each one transaction, so that it can be resumed by anybody from `planning_cursor`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from uuid import UUID

from sqlalchemy import Row, Text, cast, func, insert, select, text, update
from sqlalchemy.orm import Session

from app.db.arrays import plain_array
from app.delivery.finish import finish_if_done
from app.delivery.partitions import ensure_partitions
from app.delivery.retry import when_put_off
from app.delivery.targeting import audience_of
from app.ids import new_id, new_ids
from app.models import BatchState, DeliveryBatch, Notification, NotificationState, Subscription

PAGE_SIZE = 2_000
BATCH_SIZE = 500
# A TTL of 0 means now or never (RFC 8030 section 5.2); this is how long "now" lasts for us.
SHORTEST_DEADLINE = timedelta(seconds=60)

_Recipient = Row[str, str, UUID]  # id as text, endpoint_host, vapid_key_id

_NEXT_TO_PLAN = (
    select(Notification.id)
    .where(Notification.state == NotificationState.PLANNING, Notification.plan_after <= func.now())
    .order_by(Notification.planned_count, Notification.accepted_at)
    .limit(1)
    .with_for_update(key_share=True, skip_locked=True)
)
_INSERT_PENDING = text(
    """
    INSERT INTO push_delivery_logs
        (planned_at, notification_id, subscription_id, id, tenant_id, batch_id, status, deadline)
    SELECT :planned_at, :notification_id, row.subscription_id, row.id, :tenant_id, :batch_id, 'pending', :deadline
    FROM unnest(CAST(:subscription_ids AS uuid[]), CAST(:ids AS uuid[])) AS row(subscription_id, id)
    """
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
    recipients = _next_recipients(session, notification)
    batch_ids = [
        _plan_batch(session, notification, host, key_id, ids, hold_back=hold_back)
        for (host, key_id), members in _by_service(recipients).items()
        for ids in _chunks(members, BATCH_SIZE)
    ]
    notification.planned_count += len(recipients)
    is_last = len(recipients) < PAGE_SIZE
    if is_last:
        notification.targeted = notification.planned_count
        notification.state = NotificationState.SENDING
    else:
        notification.planning_cursor = UUID(recipients[-1][0])
    session.flush()
    if is_last:
        finish_if_done(session, notification_id)
    return PlannedPage(batch_ids, is_last=is_last)


def next_to_plan(session: Session) -> UUID | None:
    """Return a notification whose planning a worker should go on with, or None.

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


def _next_recipients(session: Session, notification: Notification) -> list[_Recipient]:
    # Served by ix_push_subscriptions_active for a broadcast.
    query = (
        select(cast(Subscription.id, Text).label("id"), Subscription.endpoint_host, Subscription.vapid_key_id)
        .where(audience_of(notification))
        .order_by(Subscription.id)
        .limit(PAGE_SIZE)
    )
    if notification.planning_cursor is not None:
        query = query.where(Subscription.id > notification.planning_cursor)
    return list(session.execute(query))


def _by_service(recipients: Iterable[_Recipient]) -> dict[tuple[str, UUID], list[str]]:
    groups: dict[tuple[str, UUID], list[str]] = defaultdict(list)
    for subscription_id, host, key_id in recipients:
        groups[host, key_id].append(subscription_id)
    return groups


def _chunks(ids: list[str], size: int) -> Iterator[list[str]]:
    rest = iter(ids)
    while chunk := list(islice(rest, size)):
        yield chunk


def _plan_batch(
    session: Session, notification: Notification, host: str, key_id: UUID, ids: list[str], *, hold_back: timedelta
) -> UUID:
    batch_id = new_id()
    session.execute(
        insert(DeliveryBatch).values(
            id=batch_id,
            tenant_id=notification.tenant_id,
            notification_id=notification.id,
            planned_at=notification.accepted_at,
            endpoint_host=host,
            vapid_key_id=key_id,
            size=len(ids),
            state=BatchState.READY,
            not_before=func.now() + hold_back,
        )
    )
    session.execute(
        _INSERT_PENDING,
        {
            "planned_at": notification.accepted_at,
            "notification_id": notification.id,
            "tenant_id": notification.tenant_id,
            "batch_id": batch_id,
            "deadline": deadline_of(notification),
            "subscription_ids": plain_array(ids),
            "ids": plain_array(new_ids(len(ids))),
        },
    )
    return batch_id


def deadline_of(notification: Notification) -> datetime:
    """Return when a delivery is too late: past it, nothing is sent."""
    return notification.accepted_at + max(timedelta(seconds=notification.ttl_seconds), SHORTEST_DEADLINE)
