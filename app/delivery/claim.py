"""Claiming: one worker takes a batch for the length of a lease, and sees once more who is still to be sent to.

How the lease works is in lease.py; here is what is done with a batch that is held, and how a claim ends.
"""

from collections.abc import Collection
from dataclasses import dataclass, fields
from datetime import timedelta
from uuid import UUID

from sqlalchemy import and_, func, or_, select, text, update
from sqlalchemy.orm import Session

from app.delivery import cancel, closing, ledger, refusals, service_states, settle
from app.delivery.finish import finish_if_done
from app.delivery.lease import Lease, renew_lease
from app.delivery.pace import Turn, turn_of
from app.delivery.recipients import Recipient, recipients_of
from app.delivery.retry import FIRST_BACKOFF_SECONDS, when_put_off
from app.delivery.service_states import Slot
from app.models import BatchState, DeliveryBatch, Notification, NotificationState

_IS_FREE = or_(
    DeliveryBatch.state == BatchState.READY,
    and_(DeliveryBatch.state == BatchState.LEASED, DeliveryBatch.leased_until < func.now()),
)
_GIVE_BACK = text(
    """
    UPDATE push_delivery_batches
    SET state = 'ready', not_before = now() + :wait * interval '1 second', lease_token = NULL, leased_until = NULL
    WHERE id = :batch_id AND lease_token = :lease_token
    """
)


class NotNow(Exception):
    """The lane's pace is taken, or another asks it. Nothing is claimed: the transaction must not be committed."""


@dataclass(frozen=True, slots=True)
class Work(Lease):
    """A claimed batch and who is to get it: of its recipients, the first `turn.messages` now."""

    notification: Notification
    recipients: list[Recipient]
    turn: Turn
    slot: Slot | None


def begin(session: Session, lease: Lease, *, max_per_second: float | None = None) -> Work | None:
    """Return what is to be done for a batch just claimed; None when nothing is.

    Settles at once those who are not to be sent to any more: past the deadline, unsubscribed, disabled, gone, in
    quarantine. Of a cancelled notification that is everybody: None, with further batches of it settled in the same
    go.
    Raises NotNow. `max_per_second` is what all lanes of a host may do together.
    """
    notification = session.get_one(Notification, lease.notification_id)
    if notification.state == NotificationState.CANCELLED:
        settle.settle(session, notification, [lease.batch_id, *_some_free(session, notification.id)])
        return None
    recipients, settled = recipients_of(session, lease.batch_id, lease.planned_at)
    if recipients and lease.condition.is_refused:
        if not service_states.begin_probe(session, lease.lane):
            raise NotNow
        recipients = refusals.established_first(recipients)
    ledger.write(session, notification.id, settled, planned_at=lease.planned_at, batch_id=lease.batch_id)
    turn = turn_of(lease.condition, messages=len(recipients), max_per_second=max_per_second)
    slot = None
    if recipients and turn.rate_per_second is not None:
        slot = service_states.reserve(session, lease.lane, turn, is_capped=max_per_second is not None)
        if slot is None:
            raise NotNow
    held = {field.name: getattr(lease, field.name) for field in fields(lease)}
    return Work(**held, notification=notification, recipients=recipients, turn=turn, slot=slot)


def renew(session: Session, work: Work) -> bool:
    """Hold the batch for another lease. False when nothing further may be begun: the lease was lost, the
    notification is cancelled, the lane paused, or an operator drains.
    """
    state, must_wait = renew_lease(session, work.batch_id, work.lease_token)
    if state in {None, NotificationState.CANCELLED}:
        cancel.hasten_if_cancelled(session, work.notification_id)
        return False
    return not must_wait


def close(session: Session, work: Work, *, give_back: bool = False, wait_seconds: float = 0.0) -> None:
    """End the claim: the batch is closed, or, with rows not begun, given back to be claimed after so many seconds.

    Does nothing when the lease was lost: the batch is another's then.
    """
    if give_back:
        held = {"batch_id": work.batch_id, "lease_token": work.lease_token}
        session.execute(_GIVE_BACK, held | {"wait": wait_seconds})
        is_closed = False
    else:
        is_closed = closing.close_held(session, work.batch_id, work.lease_token, planned_at=work.planned_at)
    state = finish_if_done(session, work.notification_id) if is_closed else None
    # Also when the lease was lost: retries may have been planned in this transaction.
    if state in {None, NotificationState.CANCELLED}:
        cancel.hasten_if_cancelled(session, work.notification_id)


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
            .limit(settle.BATCHES_SETTLED_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
    )
