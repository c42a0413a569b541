"""Who of a claimed batch is still to be sent to, and what becomes of the others: looked at once more."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.delivery import ledger
from app.delivery.partitions import month_of
from app.models import DeliveryStatus
from app.push.outcome import Outcome

# By the month, not the moment: see ledger.py on statistics. It leaves only the index on batch_id to go by.
_PENDING = text(
    """
    SELECT CAST(log.subscription_id AS text),
           subscription.endpoint,
           subscription.p256dh,
           subscription.auth,
           CAST(subscription.vapid_key_id AS text),
           CAST(extract(epoch FROM log.deadline - now()) AS double precision),
           subscription.first_accepted_at IS NOT NULL,
           subscription.key_mismatch_at,
           CASE WHEN subscription.id IS NULL OR subscription.deleted_at IS NOT NULL THEN 'unsubscribed'
                WHEN subscription.gone_at IS NOT NULL THEN CASE
                    WHEN EXISTS (
                        SELECT FROM push_quarantines AS quarantine
                        WHERE quarantine.id = subscription.quarantine_id AND quarantine.ended_at IS NULL
                    ) THEN 'quarantined' ELSE 'gone' END
                WHEN NOT subscription.enabled THEN 'disabled'
                WHEN subscription.vapid_key_id IN (SELECT id FROM push_vapid_keys WHERE retired_at IS NOT NULL)
                THEN 'key_retired'
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
_STATUS_OF_REASON = {
    "unsubscribed": DeliveryStatus.FAILED,
    "gone": DeliveryStatus.EXPIRED,
    "quarantined": DeliveryStatus.FAILED,
    "disabled": DeliveryStatus.FAILED,
    "key_retired": DeliveryStatus.FAILED,
    "deadline": DeliveryStatus.EXPIRED,
}


class Recipient(NamedTuple):
    """One pending delivery: where it goes, and how long it may still take. The keys are base64url.

    The ids are text, as they only come from PostgreSQL and go back there. `vapid_key_id` is the subscription's own;
    it can have changed since planning, and then differs from the batch's. `seconds_left` counts from the claim.
    Established: its push service has accepted a message before. `refused_at` is when our credentials were refused
    last, if nothing was accepted since.
    """

    subscription_id: str
    endpoint: str
    p256dh: str
    auth: str
    vapid_key_id: str
    seconds_left: float
    is_established: bool = False
    refused_at: datetime | None = None


Answered = tuple[Recipient, Outcome]


def recipients_of(
    session: Session, batch_id: UUID, planned_at: datetime
) -> tuple[list[Recipient], list[ledger.Entry]]:
    """Return the batch's pending deliveries: those to be sent, and those settled by what has changed since."""
    month_start, month_end = month_of(planned_at)
    rows = session.execute(_PENDING, {"batch_id": batch_id, "month_start": month_start, "month_end": month_end})
    recipients, settled = [], []
    # Name by name: gathered by a star, they cost half as much again.
    for who, endpoint, p256dh, auth, key_id, seconds, is_established, refused_at, reason in rows.all():
        if reason is None:
            recipients.append(Recipient(who, endpoint, p256dh, auth, key_id, seconds, is_established, refused_at))
        else:
            settled.append(ledger.Entry(who, _STATUS_OF_REASON[reason], reason))
    return recipients, settled
