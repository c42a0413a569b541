"""Claiming: one worker takes a batch for the length of a lease, and sees once more who is still to be sent to.

Leases and deadlines go by the database's clock, so a worker whose own clock is wrong does no harm.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Row, and_, func, or_, select, update
from sqlalchemy.orm import Session

from app.db.session import database_now
from app.delivery import ledger
from app.delivery.finish import finish_if_done
from app.delivery.partitions import month_of
from app.delivery.retry import when_put_off
from app.models import (
    BatchState,
    DeliveryBatch,
    DeliveryLog,
    DeliveryStatus,
    Notification,
    Subscription,
)

LEASE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Recipient:
    """One pending delivery: where it goes, and how long it may still take. The keys are base64url.

    `vapid_key_id` is the subscription's own; it can have changed since planning, and then differs from the batch's.
    """

    subscription_id: UUID
    endpoint: str
    p256dh: str
    auth: str
    vapid_key_id: UUID
    deadline: datetime


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
    return session.scalars(
        select(DeliveryBatch.id)
        .where(_is_free(), DeliveryBatch.not_before <= func.now())
        .order_by(DeliveryBatch.not_before)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()


def take(session: Session, batch_id: UUID) -> Work | None:
    """Claim the batch, or return None when another worker has it or it is closed.

    Settles at once those who are not to be sent to any more: past the deadline, unsubscribed, disabled, gone.
    """
    batch = session.execute(
        update(DeliveryBatch)
        .where(DeliveryBatch.id == batch_id, _is_free())
        .values(state=BatchState.LEASED, lease_token=uuid4(), leased_until=func.now() + LEASE)
        .returning(DeliveryBatch)
    ).scalar_one_or_none()
    if batch is None or batch.lease_token is None:
        return None
    now = database_now(session)
    rows = _pending(session, batch)
    settled = [entry for row in rows if (entry := _settled(row, now)) is not None]
    ledger.write(session, batch.notification_id, settled, planned_at=batch.planned_at)
    passed_over = {entry.subscription_id for entry in settled}
    notification = session.get_one(Notification, batch.notification_id)
    return Work(
        batch.id,
        batch.lease_token,
        notification,
        batch.planned_at,
        batch.endpoint_host,
        batch.vapid_key_id,
        batch.attempt,
        now,
        [
            Recipient(row.subscription_id, row.endpoint, row.p256dh, row.auth, row.vapid_key_id, row.deadline)
            for row in rows
            if row.subscription_id not in passed_over
        ],
    )


def renew(session: Session, work: Work) -> bool:
    """Hold the batch for another lease. False when it was lost: then nothing further may be sent."""
    held = session.execute(
        update(DeliveryBatch)
        .where(DeliveryBatch.id == work.batch_id, DeliveryBatch.lease_token == work.lease_token)
        .values(leased_until=func.now() + LEASE)
        .returning(DeliveryBatch.id)
    )
    return held.scalar_one_or_none() is not None


def close(session: Session, work: Work, *, give_back: bool = False) -> None:
    """End the claim: the batch is closed, or, with rows not begun, given back for the next worker.

    Does nothing when the lease was lost: the batch is another's then.
    """
    if give_back:
        values = {"state": BatchState.READY, "not_before": func.now()}
    else:
        values = {"state": BatchState.CLOSED, "closed_at": func.now()}
    ended = session.execute(
        update(DeliveryBatch)
        .where(DeliveryBatch.id == work.batch_id, DeliveryBatch.lease_token == work.lease_token)
        .values(lease_token=None, leased_until=None, **values)
        .returning(DeliveryBatch.id)
    )
    if ended.scalar_one_or_none() is not None and not give_back:
        finish_if_done(session, work.notification.id)


def put_off(session: Session, batch_id: UUID, *, lease_token: UUID | None) -> None:
    """Let a batch that could not be run wait, longer each time, so that it holds up no other.

    Does nothing when another worker holds it.
    """
    session.execute(
        update(DeliveryBatch)
        .where(
            DeliveryBatch.id == batch_id,
            or_(DeliveryBatch.state == BatchState.READY, DeliveryBatch.lease_token == lease_token),
        )
        .values(
            state=BatchState.READY,
            not_before=when_put_off(DeliveryBatch.created_at),
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


def _is_free() -> ColumnElement[bool]:
    return or_(
        DeliveryBatch.state == BatchState.READY,
        and_(DeliveryBatch.state == BatchState.LEASED, DeliveryBatch.leased_until < func.now()),
    )


def _pending(session: Session, batch: DeliveryBatch) -> list[Row[Any]]:
    # By the month, not the moment: see ledger.py on statistics. It leaves only the index on batch_id to go by.
    month_start, month_end = month_of(batch.planned_at)
    return list(
        session.execute(
            select(
                DeliveryLog.subscription_id,
                DeliveryLog.deadline,
                Subscription.endpoint,
                Subscription.p256dh,
                Subscription.auth,
                Subscription.vapid_key_id,
                Subscription.enabled,
                Subscription.gone_at,
                Subscription.deleted_at,
            )
            .join(Subscription, Subscription.id == DeliveryLog.subscription_id, isouter=True)
            .where(
                DeliveryLog.planned_at >= month_start,
                DeliveryLog.planned_at < month_end,
                DeliveryLog.batch_id == batch.id,
                DeliveryLog.status == DeliveryStatus.PENDING,
            )
            .order_by(DeliveryLog.subscription_id)
        )
    )


def _settled(row: Row[Any], now: datetime) -> ledger.Entry | None:
    if row.endpoint is None or row.deleted_at is not None:
        status, reason = DeliveryStatus.FAILED, "unsubscribed"
    elif row.gone_at is not None:
        status, reason = DeliveryStatus.EXPIRED, "gone"
    elif not row.enabled:
        status, reason = DeliveryStatus.FAILED, "disabled"
    elif row.deadline <= now:
        status, reason = DeliveryStatus.EXPIRED, "deadline"
    else:
        return None
    return ledger.Entry(row.subscription_id, status, reason)
