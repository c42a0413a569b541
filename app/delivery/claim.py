"""Claiming: one worker takes a batch for the length of a lease, and sees once more who is still to be sent to.

Leases and deadlines go by the database's clock, so a worker whose own clock is wrong does no harm.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import and_, bindparam, func, or_, select, text, update
from sqlalchemy.orm import Session

from app.delivery import cancel, ledger
from app.delivery.finish import finish_if_done
from app.delivery.partitions import month_of
from app.delivery.retry import FIRST_BACKOFF_SECONDS, when_put_off
from app.models import BatchState, DeliveryBatch, DeliveryStatus, Notification, NotificationState

LEASE = timedelta(seconds=60)
BATCHES_SETTLED_AT_ONCE = 20

_IS_FREE = or_(
    DeliveryBatch.state == BatchState.READY,
    and_(DeliveryBatch.state == BatchState.LEASED, DeliveryBatch.leased_until < func.now()),
)
# Built once, like those below: to build one costs more than to run it.
_NEXT_DUE = (
    select(DeliveryBatch.id)
    .where(_IS_FREE, DeliveryBatch.not_before <= func.now())
    .order_by(DeliveryBatch.not_before)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_TAKE = (
    update(DeliveryBatch)
    .where(DeliveryBatch.id == bindparam("batch"), _IS_FREE)
    .values(state=BatchState.LEASED, lease_token=bindparam("token"), leased_until=func.now() + LEASE)
    .returning(
        DeliveryBatch.notification_id,
        DeliveryBatch.planned_at,
        DeliveryBatch.endpoint_host,
        DeliveryBatch.vapid_key_id,
        DeliveryBatch.attempt,
        func.now(),
    )
    .execution_options(synchronize_session=False)
)
_RENEW = text(
    """
    UPDATE push_delivery_batches AS batch
    SET leased_until = now() + :lease
    FROM push_notifications AS notification
    WHERE batch.id = :batch_id AND batch.lease_token = :lease_token AND notification.id = batch.notification_id
    RETURNING notification.state
    """
)
# By the month, not the moment: see ledger.py on statistics. It leaves only the index on batch_id to go by.
_PENDING = text(
    """
    SELECT CAST(log.subscription_id AS text),
           subscription.endpoint,
           subscription.p256dh,
           subscription.auth,
           CAST(subscription.vapid_key_id AS text),
           CAST(extract(epoch FROM log.deadline - now()) AS double precision),
           CASE WHEN subscription.id IS NULL OR subscription.deleted_at IS NOT NULL THEN 'unsubscribed'
                WHEN subscription.gone_at IS NOT NULL THEN 'gone'
                WHEN NOT subscription.enabled THEN 'disabled'
                WHEN log.deadline <= now() THEN 'deadline'
           END
    FROM push_delivery_logs AS log
    LEFT JOIN push_subscriptions AS subscription ON subscription.id = log.subscription_id
    WHERE log.planned_at >= :month_start AND log.planned_at < :month_end
      AND log.batch_id = :batch_id
      AND log.status = 'pending'
    ORDER BY log.subscription_id
    """
)
_END = """
    UPDATE push_delivery_batches
    SET {what}, lease_token = NULL, leased_until = NULL
    WHERE id = :batch_id AND lease_token = :lease_token
    RETURNING id
"""
_CLOSE = text(_END.format(what="state = 'closed', closed_at = now()"))
_GIVE_BACK = text(_END.format(what="state = 'ready', not_before = now()"))
_STATUS_OF_REASON = {
    "unsubscribed": DeliveryStatus.FAILED,
    "gone": DeliveryStatus.EXPIRED,
    "disabled": DeliveryStatus.FAILED,
    "deadline": DeliveryStatus.EXPIRED,
}


class Recipient(NamedTuple):
    """One pending delivery: where it goes, and how long it may still take. The keys are base64url.

    The ids are text, as they only come from PostgreSQL and go back there. `vapid_key_id` is the subscription's own;
    it can have changed since planning, and then differs from the batch's. `seconds_left` counts from the claim.
    """

    subscription_id: str
    endpoint: str
    p256dh: str
    auth: str
    vapid_key_id: str
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Work:
    """A claimed batch. `claimed_at` is the database's time."""

    batch_id: UUID
    lease_token: UUID
    notification: Notification
    planned_at: datetime
    endpoint_host: str
    vapid_key_id: UUID
    attempt: int
    claimed_at: datetime
    recipients: list[Recipient]


def next_due(session: Session) -> UUID | None:
    """Return a batch that is due and that nobody holds, or None. Two workers are shown different ones."""
    return session.scalars(_NEXT_DUE).one_or_none()


def take(session: Session, batch_id: UUID) -> Work | None:
    """Claim the batch, or return None when another worker has it or it is closed.

    Settles at once those who are not to be sent to any more: past the deadline, unsubscribed, disabled, gone. Of a
    cancelled notification that is everybody: None, too, with further batches of it settled in the same go.
    """
    lease_token = uuid4()
    batch = session.execute(_TAKE, {"batch": batch_id, "token": lease_token}).one_or_none()
    if batch is None:
        return None
    notification_id, planned_at, endpoint_host, vapid_key_id, attempt, now = batch
    notification = session.get_one(Notification, notification_id)
    if notification.state == NotificationState.CANCELLED:
        cancel.settle(session, notification, [batch_id, *_some_free(session, notification_id)])
        return None
    recipients, settled = _read(session, batch_id, planned_at)
    ledger.write(session, notification_id, settled, planned_at=planned_at)
    return Work(
        batch_id, lease_token, notification, planned_at, endpoint_host, vapid_key_id, attempt, now, recipients
    )


def renew(session: Session, work: Work) -> bool:
    """Hold the batch for another lease. False when it was lost, or its notification is cancelled.

    Nothing further may be sent then.
    """
    state = session.execute(
        _RENEW, {"batch_id": work.batch_id, "lease_token": work.lease_token, "lease": LEASE}
    ).scalar_one_or_none()
    is_held = state not in {None, NotificationState.CANCELLED}
    if not is_held:
        cancel.hasten_if_cancelled(session, work.notification.id)
    return is_held


def close(session: Session, work: Work, *, give_back: bool = False) -> None:
    """End the claim: the batch is closed, or, with rows not begun, given back for the next worker.

    Does nothing when the lease was lost: the batch is another's then.
    """
    ended = session.execute(
        _GIVE_BACK if give_back else _CLOSE, {"batch_id": work.batch_id, "lease_token": work.lease_token}
    )
    is_closed = ended.one_or_none() is not None and not give_back
    state = finish_if_done(session, work.notification.id) if is_closed else None
    # Also when the lease was lost: retries may have been planned in this transaction.
    if state in {None, NotificationState.CANCELLED}:
        cancel.hasten_if_cancelled(session, work.notification.id)


def put_off(session: Session, batch_id: UUID, *, lease_token: UUID | None) -> None:
    """Let a batch that could not be run wait, longer each time, so that it holds up no other.

    Does nothing when another worker holds it.
    """
    # The notification before its batches, as cancelling does: it sees this batch wait, or its mark is seen here.
    state = session.scalars(
        select(Notification.state)
        .join(DeliveryBatch, DeliveryBatch.notification_id == Notification.id)
        .where(DeliveryBatch.id == batch_id)
        .with_for_update(read=True, key_share=True, of=Notification)
    ).one_or_none()
    soon = func.now() + timedelta(seconds=FIRST_BACKOFF_SECONDS)
    is_cancelled = state == NotificationState.CANCELLED
    session.execute(
        update(DeliveryBatch)
        .where(
            DeliveryBatch.id == batch_id,
            or_(
                DeliveryBatch.state == BatchState.READY,
                and_(DeliveryBatch.state == BatchState.LEASED, DeliveryBatch.lease_token == lease_token),
            ),
        )
        .values(
            state=BatchState.READY,
            not_before=soon if is_cancelled else when_put_off(DeliveryBatch.created_at),
            lease_token=None,
            leased_until=None,
        )
    )


def release(session: Session, batch_ids: Collection[UUID]) -> None:
    """Let workers have batches that were held back for a request."""
    session.execute(
        update(DeliveryBatch)
        .where(DeliveryBatch.id.in_(list(batch_ids)), DeliveryBatch.state == BatchState.READY)
        .values(not_before=func.now())
    )


def _some_free(session: Session, notification_id: UUID) -> list[UUID]:
    return list(
        session.scalars(
            select(DeliveryBatch.id)
            .where(DeliveryBatch.notification_id == notification_id, _IS_FREE)
            .limit(BATCHES_SETTLED_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
    )


def _read(session: Session, batch_id: UUID, planned_at: datetime) -> tuple[list[Recipient], list[ledger.Entry]]:
    """Return the batch's pending deliveries: those to be sent, and those settled by what has changed since."""
    month_start, month_end = month_of(planned_at)
    rows = session.execute(_PENDING, {"batch_id": batch_id, "month_start": month_start, "month_end": month_end})
    recipients, settled = [], []
    for subscription_id, endpoint, p256dh, auth, vapid_key_id, seconds_left, reason in rows.all():
        if reason is None:
            recipients.append(Recipient(subscription_id, endpoint, p256dh, auth, vapid_key_id, seconds_left))
        else:
            settled.append(ledger.Entry(subscription_id, _STATUS_OF_REASON[reason], reason))
    return recipients, settled
