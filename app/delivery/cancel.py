"""Cancelling: the notification is marked at once, however large; what is pending of it is settled batch by batch.

Whoever claims a batch, or holds one, sees the mark: claim.take settles, claim.renew begins nothing further. What is
in flight at that moment is recorded as it comes.
"""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db.arrays import plain_array
from app.delivery import closing
from app.delivery.finish import finish_if_done
from app.delivery.partitions import month_of
from app.models import Notification, NotificationState

_HASTEN = text(
    """
    WITH waiting AS MATERIALIZED (
        SELECT batch.id
        FROM push_notifications AS notification
        JOIN push_delivery_batches AS batch ON batch.notification_id = notification.id
        WHERE notification.id = :notification_id AND notification.state = 'cancelled'
          AND batch.state = 'ready' AND batch.not_before > now()
        FOR NO KEY UPDATE OF batch SKIP LOCKED
    )
    UPDATE push_delivery_batches AS batch SET not_before = now() FROM waiting WHERE batch.id = waiting.id
    """
)
# In key order, as all rows are. By the month, not the moment: see ledger.py on statistics.
_SETTLE = text(
    """
    WITH pending AS MATERIALIZED (
        SELECT log.planned_at, log.notification_id, log.subscription_id
        FROM push_delivery_logs AS log
        WHERE log.planned_at >= :month_start AND log.planned_at < :month_end
          AND log.batch_id = ANY(CAST(:batch_ids AS uuid[]))
          AND log.status = 'pending'
        ORDER BY log.subscription_id
        FOR NO KEY UPDATE
    )
    UPDATE push_delivery_logs AS log
    SET status = 'failed', reason = 'cancelled'
    FROM pending
    WHERE log.planned_at >= :month_start AND log.planned_at < :month_end
      AND (log.planned_at, log.notification_id, log.subscription_id)
        = (pending.planned_at, pending.notification_id, pending.subscription_id)
    """
)
# Where lanes are paused, at a pace or drained, nobody claims: what is cancelled there would wait as well. Without
# such a host, no batch is looked at.
_CANCELLED_WHERE_LANES_WAIT = text(
    """
    WITH waiting AS MATERIALIZED (
        SELECT endpoint_host FROM push_service_states WHERE paused_until > now() OR next_slot_at > now()
        UNION
        SELECT endpoint_host FROM push_delivery_batches WHERE state = 'ready' AND EXISTS (SELECT FROM push_drain)
    )
    SELECT cancelled.id, cancelled.notification_id
    FROM waiting
    CROSS JOIN LATERAL (
        SELECT batch.id, batch.notification_id
        FROM push_delivery_batches AS batch
        JOIN push_notifications AS notification ON notification.id = batch.notification_id
        WHERE batch.endpoint_host = waiting.endpoint_host AND batch.state = 'ready'
          AND notification.state = 'cancelled'
        LIMIT :at_once
        FOR UPDATE OF batch SKIP LOCKED
    ) AS cancelled
    LIMIT :at_once
    """
)
BATCHES_SETTLED_AT_ONCE = 20


def cancel(session: Session, notification: Notification) -> None:
    """Stop a notification that is not sent yet: nothing of it is planned, claimed or tried again from now on.

    The caller holds its row FOR UPDATE. That waits for whoever is just adding a batch to it, planned or for retry;
    who adds one later sees the mark. So none is left waiting for its time.
    """
    if notification.state == NotificationState.CANCELLED:
        return
    notification.state = NotificationState.CANCELLED
    notification.targeted = notification.planned_count
    session.flush()
    hasten_if_cancelled(session, notification.id)
    finish_if_done(session, notification.id)


def hasten_if_cancelled(session: Session, notification_id: UUID) -> None:
    """Let the batches of a cancelled notification that wait for their time be settled now.

    Passes over those that somebody is just working on: he sees to them himself.
    """
    session.execute(_HASTEN, {"notification_id": notification_id})


def settle(session: Session, notification: Notification, batch_ids: Sequence[UUID]) -> None:
    """End what is pending in batches of a cancelled notification, and close them. The caller holds their rows."""
    month_start, month_end = month_of(notification.accepted_at)
    session.execute(
        _SETTLE, {"batch_ids": plain_array(batch_ids), "month_start": month_start, "month_end": month_end}
    )
    closing.close_all(session, batch_ids, planned_at=notification.accepted_at)
    finish_if_done(session, notification.id)


def settle_where_lanes_wait(session: Session) -> bool:
    """Settle some batches of cancelled notifications at hosts where lanes wait. False when there were none."""
    waiting = session.execute(_CANCELLED_WHERE_LANES_WAIT, {"at_once": BATCHES_SETTLED_AT_ONCE})
    by_notification = defaultdict(list)
    for batch_id, notification_id in waiting:
        by_notification[notification_id].append(batch_id)
    for notification_id, batch_ids in sorted(by_notification.items()):
        settle(session, session.get_one(Notification, notification_id), batch_ids)
    return bool(by_notification)
