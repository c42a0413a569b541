"""Accepting notifications: stored and planned, run inline when the audience is small, else by the workers.

What is scheduled waits; see schedule.py. Looking them up and cancelling them is here, too.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.session import PASSING_ERRORS, SessionFactory, transaction
from app.delivery import cancel as cancelling
from app.delivery import targeting
from app.delivery.bell import Bell
from app.delivery.finish import is_everybody_tried
from app.delivery.forms import Payloads
from app.delivery.inline import InlineLimits, run_inline
from app.delivery.run import Pipeline
from app.errors import Conflict, NotFound, PreconditionFailed
from app.models import DeliveryLog, DeliveryStatus, Notification, NotificationState
from app.notifications import idempotency, repository
from app.notifications.idempotency import Earlier, Key
from app.notifications.intake import new_notification, refuse_too_large, warnings_about
from app.notifications.progress import Progress, progress_of
from app.notifications.schemas import BroadcastRequest, SendRequest, SendWarning
from app.notifications.sent import Replay, Sent, as_it_stands


class GaveUp(PreconditionFailed):
    code = "gave-up"
    title = "The caller has given up waiting"


class AlreadySent(Conflict):
    code = "already-sent"
    title = "The notification is sent"


class NotificationNotFound(NotFound):
    code = "notification-not-found"
    title = "No such notification"


@dataclass(frozen=True, slots=True)
class SendOptions:
    """How to go about a send, other than what it says: `is_async` leaves it to the workers, whatever its size."""

    idempotency_key: str | None = None
    give_up_at: datetime | None = None
    is_async: bool = False


def send(
    pipeline: Pipeline,
    request: SendRequest | BroadcastRequest,
    *,
    tenant_id: UUID,
    default_ttl_seconds: int,
    limits: InlineLimits,
    options: SendOptions = SendOptions(),
) -> Sent | Replay:
    """Store the notification, then send it: all of it here when the audience is small and there is time.

    Raises as `enqueue` does. Once it is stored, it is accepted: whatever happens then, the workers finish it.
    """
    stored = _store(
        *(pipeline.sessions, pipeline.payloads, request),
        tenant_id=tenant_id,
        default_ttl_seconds=default_ttl_seconds,
        inline=None if options.is_async else limits,
        options=options,
    )
    if isinstance(stored, Replay):
        return stored
    is_complete = stored.is_inline and run_inline(pipeline, stored.notification.id, limits)
    if stored.is_due and not is_complete:
        pipeline.bell.ring()
    return _outcome(pipeline, stored, is_complete=is_complete) if stored.is_inline else stored.accepted


def enqueue(
    sessions: SessionFactory,
    payloads: Payloads,
    request: SendRequest | BroadcastRequest,
    *,
    tenant_id: UUID,
    default_ttl_seconds: int,
    options: SendOptions = SendOptions(),
) -> Sent | Replay:
    """Store the notification for the workers, whatever its size.

    Raises PayloadTooLarge, ScheduledTooFarAhead and GaveUp, with nothing stored; KeyReused and KeyInUse.
    """
    stored = _store(
        *(sessions, payloads, request),
        tenant_id=tenant_id,
        default_ttl_seconds=default_ttl_seconds,
        inline=None,
        options=options,
    )
    if isinstance(stored, Replay):
        return stored
    if stored.is_due:
        Bell(sessions).ring()
    return stored.accepted


@dataclass(frozen=True, slots=True)
class _Stored:
    """A notification that is stored, with its key; `is_inline`: its request plans and runs it."""

    notification: Notification
    key: Key | None
    warnings: list[SendWarning]
    is_inline: bool

    @property
    def is_due(self) -> bool:
        return self.notification.state == NotificationState.PLANNING

    @property
    def accepted(self) -> Sent:
        return Sent(self.notification, {}, None, self.warnings, is_complete=False)


def _store(
    sessions: SessionFactory,
    payloads: Payloads,
    request: SendRequest | BroadcastRequest,
    *,
    tenant_id: UUID,
    default_ttl_seconds: int,
    inline: InlineLimits | None,
    options: SendOptions,
) -> _Stored | Replay:
    key = Key.of(tenant_id, options.idempotency_key, request) if options.idempotency_key else None
    with transaction(sessions) as session:
        if key and (earlier := idempotency.find(session, key)):
            return _replay(session, payloads, tenant_id, earlier)
        notification = new_notification(request, tenant_id, _now(session), default_ttl_seconds)
        notification.idempotency_key = options.idempotency_key
        refuse_too_large(notification, payloads)
        is_inline = (
            inline is not None
            and notification.state == NotificationState.PLANNING
            and not targeting.is_larger_than(session, notification, inline.max_recipients)
        )
        answered_within = inline.hold_back if inline is not None else timedelta(0)
        if is_inline:
            notification.plan_after = notification.accepted_at + answered_within
        stored = _Stored(notification, key, warnings_about(notification, payloads), is_inline)
        _refuse_if_given_up(session, options.give_up_at)
        session.add(notification)
        if key:
            answer = None if is_inline else stored.accepted.answer
            idempotency.store(session, key, notification.id, answer=answer, answered_within=answered_within)
    return stored


def _replay(session: Session, payloads: Payloads, tenant_id: UUID, earlier: Earlier) -> Replay:
    if earlier.answer is not None:
        return Replay(earlier.answer)
    is_complete = is_everybody_tried(session, earlier.notification_id)
    notification = get(session, tenant_id, earlier.notification_id)
    return Replay(as_it_stands(session, payloads, notification, is_complete=is_complete).answer)


def _outcome(pipeline: Pipeline, stored: _Stored, *, is_complete: bool) -> Sent:
    notification, key = stored.notification, stored.key
    try:
        with transaction(pipeline.sessions) as session:
            notification = get(session, notification.tenant_id, notification.id)
            sent = as_it_stands(session, pipeline.payloads, notification, is_complete=is_complete)
            if key is not None:
                idempotency.remember(session, key, notification.id, sent.answer)
    except PASSING_ERRORS:
        return stored.accepted
    return sent


def cancel(pipeline: Pipeline, tenant_id: UUID, notification_id: UUID) -> None:
    """Stop a notification, at once; the workers settle what is pending. Cancelling again changes nothing.

    Raises NotificationNotFound, and AlreadySent when there is nothing left to stop.
    """
    with transaction(pipeline.sessions) as session:
        notification = repository.find(session, tenant_id, notification_id, for_update=True)
        if notification is None:
            raise NotificationNotFound("There is no notification with this id.")
        if notification.state == NotificationState.SENT:
            raise AlreadySent("Everybody was sent to, or settled otherwise: there is nothing left to cancel.")
        cancelling.cancel(session, notification)
    pipeline.bell.ring()


def progress(session: Session, tenant_id: UUID, notification_id: UUID) -> Progress:
    """Return how far a notification has come. Raises NotificationNotFound."""
    return progress_of(session, [get(session, tenant_id, notification_id)])[notification_id]


def id_by_key(session: Session, tenant_id: UUID, key: str) -> UUID:
    """Return the id of the notification that was stored under this Idempotency-Key, the newest of several.

    A request that is just storing it is waited for. Raises NotificationNotFound: then there is none, and once its
    X-Give-Up-At is past, there never will be.
    """
    found = repository.find_by_key(session, tenant_id, key)
    if found is None:
        idempotency.wait_for(session, Key(tenant_id, key))
        found = repository.find_by_key(session, tenant_id, key)
    if found is None:
        raise NotificationNotFound("Nothing is stored under this key.")
    return found


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


def _now(session: Session) -> datetime:
    # Not the transaction's start: it may have waited for another request with the same key.
    now: datetime = session.scalars(select(func.clock_timestamp())).one()
    return now


def _refuse_if_given_up(session: Session, give_up_at: datetime | None) -> None:
    if give_up_at is not None and _now(session) >= give_up_at:
        raise GaveUp("X-Give-Up-At is past: nothing was stored, and nothing is sent.")
