"""The ledger's one write: pending rows become something else. A row that is no longer pending is never touched."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db.arrays import plain_array, text_array
from app.delivery.partitions import month_of
from app.models import DeliveryStatus

# Each entry is to find its row by the primary key, whatever the statistics say. They know nothing of a notification
# planned a moment ago: told its two columns as constants, PostgreSQL takes it for a handful of rows, and reads its
# million for every two hundred outcomes. So they come as a row of their own; the month leads to the one partition.
_WRITE = text(
    """
    WITH notification AS MATERIALIZED (
        SELECT CAST(:planned_at AS timestamptz) AS planned_at, CAST(:notification_id AS uuid) AS id
    ), changed AS (
        UPDATE push_delivery_logs AS log
        SET status = entry.status,
            reason = entry.reason,
            response_code = entry.response_code,
            error_message = entry.error_message,
            push_message_id = entry.push_message_id,
            batch_id = coalesce(entry.batch_id, log.batch_id),
            attempts = log.attempts + entry.tries,
            sent_at = CASE WHEN entry.tries > 0 THEN now() ELSE log.sent_at END
        FROM notification, unnest(
            CAST(:subscription_ids AS uuid[]), CAST(:statuses AS text[]), CAST(:reasons AS text[]),
            CAST(:response_codes AS smallint[]), CAST(:error_messages AS text[]),
            CAST(:push_message_ids AS text[]), CAST(:batch_ids AS uuid[]), CAST(:tries AS smallint[])
        ) AS entry(
            subscription_id, status, reason, response_code, error_message, push_message_id, batch_id, tries
        )
        WHERE log.planned_at >= :month_start AND log.planned_at < :month_end
          AND log.planned_at = notification.planned_at
          AND log.notification_id = notification.id
          AND log.subscription_id = entry.subscription_id
          AND log.status = 'pending'
        RETURNING log.status
    )
    SELECT status, count(*) FROM changed GROUP BY status
    """
)


class Entry(NamedTuple):
    """What becomes of one delivery. `batch_id` moves it to another batch; `tries` is 1 when it was posted."""

    subscription_id: str
    status: DeliveryStatus
    reason: str | None = None
    response_code: int | None = None
    error_message: str | None = None
    push_message_id: str | None = None
    batch_id: UUID | None = None
    tries: int = 0


def write(
    session: Session, notification_id: UUID, entries: Sequence[Entry], *, planned_at: datetime
) -> Counter[DeliveryStatus]:
    """Write the entries over rows still pending, in key order; return how many rows became what."""
    if not entries:
        return Counter()
    ids, statuses, reasons, codes, errors, message_ids, batch_ids, tries = zip(*sorted(entries), strict=True)
    month_start, month_end = month_of(planned_at)
    changed = session.execute(
        _WRITE,
        {
            "planned_at": planned_at,
            "month_start": month_start,
            "month_end": month_end,
            "notification_id": notification_id,
            "subscription_ids": plain_array(ids),
            "statuses": plain_array(statuses),
            "reasons": plain_array(reasons),
            "response_codes": plain_array(codes),
            "error_messages": text_array(errors),
            "push_message_ids": text_array(message_ids),
            "batch_ids": plain_array(batch_ids),
            "tries": plain_array(tries),
        },
    )
    return Counter({DeliveryStatus(status): count for status, count in changed})
