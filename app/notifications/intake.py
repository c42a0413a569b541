"""Intake: a notification made of what a client asks for, or refused before anything is stored."""

from datetime import datetime
from uuid import UUID

from app.delivery.forms import SAFE_PLAINTEXT_BYTES, Payloads, bytes_by_field, form_of
from app.errors import Invalid
from app.ids import new_id
from app.models import Notification, NotificationState
from app.notifications.schedule import LONGEST_WAIT
from app.notifications.schemas import BroadcastRequest, SendRequest, SendWarning
from app.push.message import MAX_PLAINTEXT_BYTES


class PayloadTooLarge(Invalid):
    code = "payload-too-large"
    title = "The notification does not fit into a push message"


class ScheduledTooFarAhead(Invalid):
    code = "scheduled-too-far-ahead"
    title = "The time is too far ahead"


def new_notification(
    request: SendRequest | BroadcastRequest, tenant_id: UUID, now: datetime, default_ttl_seconds: int
) -> Notification:
    """Return the notification that is asked for, accepted now, and scheduled if its time lies in the future.

    Raises ScheduledTooFarAhead.
    """
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
        state=_first_state(request.scheduled_at, now),
        is_broadcast=targets is None,
        target_topics=targets and targets.topics,
        target_user_ids=targets and targets.user_ids,
        target_subscription_ids=targets and targets.subscription_ids,
    )


def refuse_too_large(notification: Notification, payloads: Payloads) -> None:
    """Raise PayloadTooLarge, which says what takes how much, when a browser's push message cannot hold it."""
    largest = payloads.largest(notification)
    size = form_of(largest).size
    if size > MAX_PLAINTEXT_BYTES:
        raise PayloadTooLarge(
            f"The payload has {size} bytes; at most {MAX_PLAINTEXT_BYTES} fit. Shorten the largest fields.",
            bytes=size,
            max_bytes=MAX_PLAINTEXT_BYTES,
            bytes_by_field=bytes_by_field(largest),
        )


def warnings_about(notification: Notification, payloads: Payloads) -> list[SendWarning]:
    """Return what the sender of an accepted notification is to know."""
    size = form_of(payloads.classic(notification)).size
    if size <= SAFE_PLAINTEXT_BYTES:
        return []
    detail = (
        f"The payload has {size} bytes. Above {SAFE_PLAINTEXT_BYTES}, Firefox on Android may not get it."
        " Shorten the largest fields."
    )
    return [SendWarning(code="large-payload", detail=detail, bytes=size, limit=SAFE_PLAINTEXT_BYTES)]


def _first_state(scheduled_at: datetime | None, now: datetime) -> NotificationState:
    if scheduled_at is None or scheduled_at <= now:
        return NotificationState.PLANNING
    if scheduled_at - now > LONGEST_WAIT:
        raise ScheduledTooFarAhead(f"scheduled_at can be {LONGEST_WAIT.days} days ahead, no more.")
    return NotificationState.SCHEDULED
