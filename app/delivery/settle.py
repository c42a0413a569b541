"""Settling: whole batches that are not to be sent any more, their notification is cancelled or past its deadline.

Whoever claims a batch settles it. Where lanes are paused, at a pace or drained, nobody claims: there it is done
without.
"""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db.arrays import plain_array
from app.delivery import closing
from app.delivery.finish import finish_if_done
from app.delivery.page import SHORTEST_DEADLINE
from app.delivery.partitions import month_of
from app.models import DeliveryStatus, Notification, NotificationState

BATCHES_SETTLED_AT_ONCE = 20

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
    SET status = :status, reason = :reason
    FROM pending
    WHERE log.planned_at >= :month_start AND log.planned_at < :month_end
      AND (log.planned_at, log.notification_id, log.subscription_id)
        = (pending.planned_at, pending.notification_id, pending.subscription_id)
    """
)
# Without a host that waits, no batch is looked at. All rows of a batch have the deadline of their notification.
_WHERE_LANES_WAIT = text(
    """
    WITH waiting AS MATERIALIZED (
        SELECT endpoint_host FROM push_service_states WHERE paused_until > now() OR next_slot_at > now()
        UNION
        SELECT endpoint_host FROM push_delivery_batches WHERE state = 'ready' AND EXISTS (SELECT FROM push_drain)
    )
    SELECT to_settle.id, to_settle.notification_id
    FROM waiting
    CROSS JOIN LATERAL (
        SELECT batch.id, batch.notification_id
        FROM push_delivery_batches AS batch
        JOIN push_notifications AS notification ON notification.id = batch.notification_id
        WHERE batch.endpoint_host = waiting.endpoint_host AND batch.state = 'ready'
          AND (
              notification.state = 'cancelled'
              OR batch.planned_at
               + greatest(notification.ttl_seconds, :shortest_seconds) * interval '1 second' <= now()
          )
        LIMIT :at_once
        FOR UPDATE OF batch SKIP LOCKED
    ) AS to_settle
    LIMIT :at_once
    """
)


def settle(session: Session, notification: Notification, batch_ids: Sequence[UUID]) -> None:
    """End what is pending in batches of a notification that is cancelled, or else past its deadline; close them.

    The caller holds the batches' rows.
    """
    month_start, month_end = month_of(notification.accepted_at)
    is_cancelled = notification.state == NotificationState.CANCELLED
    session.execute(
        _SETTLE,
        {
            "batch_ids": plain_array(batch_ids),
            "month_start": month_start,
            "month_end": month_end,
            "status": (DeliveryStatus.FAILED if is_cancelled else DeliveryStatus.EXPIRED).value,
            "reason": "cancelled" if is_cancelled else "deadline",
        },
    )
    closing.close_all(session, batch_ids, planned_at=notification.accepted_at)
    finish_if_done(session, notification.id)


def settle_where_lanes_wait(session: Session) -> bool:
    """Settle some batches at hosts where lanes wait. False when there was nothing to settle."""
    found = session.execute(
        _WHERE_LANES_WAIT,
        {"at_once": BATCHES_SETTLED_AT_ONCE, "shortest_seconds": SHORTEST_DEADLINE.total_seconds()},
    )
    by_notification = defaultdict(list)
    for batch_id, notification_id in found:
        by_notification[notification_id].append(batch_id)
    for notification_id, batch_ids in sorted(by_notification.items()):
        settle(session, session.get_one(Notification, notification_id), batch_ids)
    return bool(by_notification)
