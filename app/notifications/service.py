"""Accepting notifications: stored and planned, run inline when the audience is small, else by the workers."""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.db.session import PASSING_ERRORS, database_now, transaction
from app.delivery import targeting
from app.delivery.inline import InlineLimits, run_inline
from app.delivery.payload import PublicUrls, bytes_by_field, is_too_large, payload_fields, payload_of
from app.delivery.run import Pipeline
from app.errors import Invalid, NotFound
from app.ids import new_id
from app.models import DeliveryLog, DeliveryStatus, Notification, NotificationState
from app.notifications import repository
from app.notifications.schemas import LISTED_DELIVERIES, BroadcastRequest, SendRequest
from app.push.message import MAX_PLAINTEXT_BYTES


class PayloadTooLarge(Invalid):
    code = "payload-too-large"
    title = "The notification does not fit into a push message"


class SchedulingNotAvailable(Invalid):
    code = "scheduling-not-available"
    title = "Scheduled notifications are not available"


class NotificationNotFound(NotFound):
    code = "notification-not-found"
    title = "No such notification"


@dataclass(frozen=True, slots=True)
class Sent:
    """A notification after its request: the live counts, and the deliveries when they are few."""

    notification: Notification
    counts: repository.StatusCounts
    deliveries: list[DeliveryLog] | None
    is_complete: bool  # every recipient was tried, or settled otherwise, at least once


def send(
    pipeline: Pipeline,
    request: SendRequest | BroadcastRequest,
    *,
    tenant_id: UUID,
    default_ttl_seconds: int,
    limits: InlineLimits,
) -> Sent:
    """Store the notification, then send it: all of it here when the audience is small and there is time.

    Raises PayloadTooLarge and SchedulingNotAvailable, with nothing stored. Once it is stored, it is accepted:
    whatever happens then, the workers finish it.
    """
    with transaction(pipeline.sessions) as session:
        notification = _new_notification(request, tenant_id, database_now(session), default_ttl_seconds)
        _refuse_too_large(notification, pipeline.urls)
        is_small = not targeting.is_larger_than(session, notification, limits.max_recipients)
        if is_small:
            notification.plan_after = notification.accepted_at + limits.hold_back
        session.add(notification)
    is_complete = is_small and run_inline(pipeline, notification.id, limits)
    if not is_complete:
        pipeline.bell.ring()
    return _outcome(pipeline, notification, is_complete=is_complete)


def _outcome(pipeline: Pipeline, notification: Notification, *, is_complete: bool) -> Sent:
    try:
        with transaction(pipeline.sessions) as session:
            found = look_up(session, notification.tenant_id, notification.id)
    except PASSING_ERRORS:
        return Sent(notification, {}, None, is_complete=False)
    return replace(found, is_complete=is_complete)


def look_up(session: Session, tenant_id: UUID, notification_id: UUID) -> Sent:
    """Return a notification with its counts. Raises NotificationNotFound."""
    notification = get(session, tenant_id, notification_id)
    counts = repository.counts_of(session, [notification])[notification.id]
    deliveries = None
    if notification.targeted is not None and notification.targeted <= LISTED_DELIVERIES:
        deliveries = repository.deliveries(session, notification, after=None, limit=LISTED_DELIVERIES, status=None)
    return Sent(notification, counts, deliveries, is_complete=True)


def get(session: Session, tenant_id: UUID, notification_id: UUID) -> Notification:
    """Return the tenant's notification. Raises NotificationNotFound."""
    notification = repository.find(session, tenant_id, notification_id)
    if notification is None:
        raise NotificationNotFound("There is no notification with this id.")
    return notification


def deliveries_page(
    session: Session,
    tenant_id: UUID,
    notification_id: UUID,
    *,
    after: UUID | None,
    limit: int,
    status: DeliveryStatus | None,
) -> tuple[list[DeliveryLog], UUID | None]:
    """Return deliveries and the cursor for those after them, None at the end. Raises NotificationNotFound."""
    notification = get(session, tenant_id, notification_id)
    rows = repository.deliveries(session, notification, after=after, limit=limit + 1, status=status)
    page = rows[:limit]
    return page, page[-1].subscription_id if len(rows) > limit else None


def _new_notification(
    request: SendRequest | BroadcastRequest, tenant_id: UUID, now: datetime, default_ttl_seconds: int
) -> Notification:
    if request.scheduled_at is not None and request.scheduled_at > now:
        raise SchedulingNotAvailable("scheduled_at lies in the future. Send without it, at the time it is wanted.")
    fields = request.model_dump(
        mode="json", exclude={"topics", "user_ids", "subscription_ids", "ttl", "scheduled_at"}
    )
    targets = request if isinstance(request, SendRequest) else None
    return Notification(
        **fields,
        id=new_id(),
        tenant_id=tenant_id,
        created_at=now,
        accepted_at=now,
        scheduled_at=request.scheduled_at,
        plan_after=now,
        planned_count=0,
        ttl_seconds=default_ttl_seconds if request.ttl is None else request.ttl,
        state=NotificationState.PLANNING,
        is_broadcast=targets is None,
        target_topics=targets and targets.topics,
        target_user_ids=targets and targets.user_ids,
        target_subscription_ids=targets and targets.subscription_ids,
    )


def _refuse_too_large(notification: Notification, urls: PublicUrls) -> None:
    payload = payload_of(notification, urls)
    if is_too_large(payload):
        sizes = bytes_by_field(payload_fields(notification, urls))
        raise PayloadTooLarge(
            f"The payload has {len(payload)} bytes; at most {MAX_PLAINTEXT_BYTES} fit. Shorten the largest fields.",
            bytes=len(payload),
            max_bytes=MAX_PLAINTEXT_BYTES,
            bytes_by_field=sizes,
        )
