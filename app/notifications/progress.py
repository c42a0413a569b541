"""Progress: how far notifications have come, how fast they go, and how long they may still take."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.db.arrays import plain_array
from app.models import DeliveryLog, DeliveryStatus, Notification, NotificationState
from app.notifications import repository, schemas

WINDOW = timedelta(seconds=10)
# A rate is told from the first answers on, and one of a few milliseconds says nothing.
SHORTEST_WINDOW = timedelta(seconds=1)

# What was settled within the window: all of a closed batch that was first had within it, two thousand of them for a
# million recipients, found by ix_push_delivery_batches_notification_id. Of the few that are being sent, that were
# given back, or that took longer, rows are counted, by ix_push_delivery_logs_batch_id: without a word on their
# month, for PostgreSQL would read all of it. A version that wrote no counts is taken to have settled all.
_SETTLED_LATELY = text(
    """
    WITH batch AS (
        SELECT id,
               notification_id,
               size,
               state,
               state = 'leased' OR (state = 'ready' AND not_before <= now()) AS is_on_its_way,
               coalesce(claimed_at, CASE WHEN state <> 'ready' THEN created_at END) AS began_at,
               coalesce(closed_at, now()) AS ended_at,
               sent_count + delivered_count + failed_count + expired_count AS counted
        FROM push_delivery_batches
        WHERE notification_id = ANY(CAST(:ids AS uuid[]))
    )
    SELECT notification_id,
           CAST(
               sum(
                   CASE
                        WHEN state = 'closed' AND began_at > now() - :window THEN coalesce(counted, size)
                        ELSE (SELECT count(*)
                              FROM push_delivery_logs AS log
                              WHERE log.batch_id = batch.id
                                AND log.status <> 'pending' AND log.sent_at > now() - :window)
                   END
               ) FILTER (WHERE began_at IS NOT NULL AND ended_at > now() - :window)
               / extract(epoch FROM least(:window, greatest(:shortest, now() - min(began_at))))
               AS double precision
           ),
           bool_or(is_on_its_way)
    FROM batch
    GROUP BY notification_id
    """
)


@dataclass(frozen=True, slots=True)
class Progress:
    """A notification, its deliveries by status, and its pace: None while it does not move, or nothing is known."""

    notification: Notification
    counts: repository.StatusCounts
    rate_per_second: float | None
    seconds_left: int | None

    @property
    def is_over(self) -> bool:
        """Whether nothing will change any more: all are sent to, or settled otherwise."""
        return self.notification.finished_at is not None

    def shown(self) -> schemas.Progress:
        """Return what listeners are told."""
        return schemas.Progress(
            **self.counts,
            id=self.notification.id,
            status=self.notification.state,
            targeted=self.notification.targeted,
            rate_per_second=self.rate_per_second,
            seconds_left=self.seconds_left,
            finished_at=self.notification.finished_at,
        )


def progress_of(session: Session, notifications: Sequence[Notification]) -> dict[UUID, Progress]:
    """Return how far each has come. Their rows were read before, so the end is never told early."""
    counts = repository.counts_of(session, notifications)
    paces = _paces(session, [each.id for each in notifications if _is_running(each)])
    return {each.id: _progress(each, counts[each.id], *paces.get(each.id, (None, False))) for each in notifications}


def reasons_of(session: Session, notification: Notification) -> dict[DeliveryStatus, dict[str, int]]:
    """Return why deliveries failed or expired, and how many of each; nothing once retention has dropped them."""
    reason = func.coalesce(DeliveryLog.reason, "unknown")
    found = session.execute(
        select(DeliveryLog.status, reason, func.count())
        .where(
            DeliveryLog.planned_at == notification.accepted_at,
            DeliveryLog.notification_id == notification.id,
            DeliveryLog.status.in_((DeliveryStatus.FAILED, DeliveryStatus.EXPIRED)),
        )
        .group_by(DeliveryLog.status, reason)
        .order_by(func.count().desc(), reason)
    )
    reasons: defaultdict[DeliveryStatus, dict[str, int]] = defaultdict(dict)
    for status, why, count in found:
        reasons[DeliveryStatus(status)][why] = count
    return reasons


def _is_running(notification: Notification) -> bool:
    return notification.state in (NotificationState.PLANNING, NotificationState.SENDING)


def _paces(session: Session, notification_ids: Sequence[UUID]) -> dict[UUID, tuple[float | None, bool]]:
    """Return how many deliveries a second were settled lately, and whether any is due or being sent.

    Those that have no batch yet are left out.
    """
    if not notification_ids:
        return {}
    found = session.execute(
        _SETTLED_LATELY,
        {"ids": plain_array(notification_ids), "window": WINDOW, "shortest": SHORTEST_WINDOW},
    )
    return {notification_id: (rate or None, is_on_its_way) for notification_id, rate, is_on_its_way in found}


def _progress(
    notification: Notification, counts: repository.StatusCounts, rate: float | None, is_on_its_way: bool
) -> Progress:
    is_known = notification.targeted is not None and is_on_its_way
    seconds_left = math.ceil(counts.get("pending", 0) / rate) if rate and is_known else None
    return Progress(notification, counts, rate and round(rate, 1), seconds_left)
