"""The ledger's one write: pending rows become something else. A row that is no longer pending is never touched."""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from app.db.arrays import plain_array, text_array
from app.delivery.partitions import partition_of
from app.models import DeliveryStatus

# Each row is to be found by its key, whatever the statistics say. They know nothing of a notification planned a
# moment ago: PostgreSQL takes it for a handful of rows, and to find two hundred of them reads all that it has. So
# nothing but the entries narrows the rows down (OFFSET 0 hides that their keys begin alike, and the partition is
# named), and other ways of joining are out of the question.
_WRITE = """
    SET LOCAL enable_hashjoin = off;
    SET LOCAL enable_mergejoin = off;
    SET LOCAL enable_seqscan = off;
    SET LOCAL enable_bitmapscan = off;
    WITH changed AS (
        UPDATE {partition} AS log
        SET status = entry.status,
            reason = entry.reason,
            response_code = entry.response_code,
            error_message = entry.error_message,
            push_message_id = entry.push_message_id,
            batch_id = coalesce(entry.batch_id, log.batch_id),
            attempts = log.attempts + entry.tries,
            sent_at = CASE WHEN entry.tries > 0 THEN now() ELSE log.sent_at END
        FROM (
            SELECT CAST(:planned_at AS timestamptz) AS planned_at,
                   CAST(:notification_id AS uuid) AS notification_id,
                   'pending' AS status_before,
                   outcome.*
            FROM unnest(
                CAST(:subscription_ids AS uuid[]), CAST(:statuses AS text[]), CAST(:reasons AS text[]),
                CAST(:response_codes AS smallint[]), CAST(:error_messages AS text[]),
                CAST(:push_message_ids AS text[]), CAST(:batch_ids AS uuid[]), CAST(:tries AS smallint[])
            ) AS outcome(
                subscription_id, status, reason, response_code, error_message, push_message_id, batch_id, tries
            )
            OFFSET 0
        ) AS entry
        WHERE log.planned_at = entry.planned_at
          AND log.notification_id = entry.notification_id
          AND log.subscription_id = entry.subscription_id
          AND log.status = entry.status_before
        RETURNING log.status,
                  CASE WHEN entry.batch_id IS NULL AND log.batch_id <> CAST(:held_batch_id AS uuid)
                       THEN CAST(log.batch_id AS text)
                  END AS elsewhere
    )
    SELECT status, count(*), array_agg(elsewhere) FILTER (WHERE elsewhere IS NOT NULL) FROM changed GROUP BY status
"""
# What nobody has had is pending as a whole to whoever counts. Who is just claiming it says so himself.
_CLAIMED = text(
    """
    WITH unclaimed AS MATERIALIZED (
        SELECT id FROM push_delivery_batches
        WHERE id = ANY(CAST(:batch_ids AS uuid[])) AND claimed_at IS NULL
        FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE push_delivery_batches AS batch SET claimed_at = now() FROM unclaimed WHERE batch.id = unclaimed.id
    """
)


@lru_cache(maxsize=4)
def _write_to(partition: str) -> TextClause:
    return text(_WRITE.format(partition=partition))


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
    session: Session, notification_id: UUID, entries: Sequence[Entry], *, planned_at: datetime, batch_id: UUID
) -> Counter[DeliveryStatus]:
    """Write the entries over rows still pending, in key order; return how many rows became what.

    `batch_id` is the batch they were read from. When a lease was lost, another has perhaps moved some to a batch of
    his: that is marked as claimed, as it is not pending as a whole any more.

    What this transaction does next looks rows up by the index of their key, too, in the order of the keys given.
    """
    if not entries:
        return Counter()
    ids, statuses, reasons, codes, errors, message_ids, batch_ids, tries = zip(*sorted(entries), strict=True)
    changed = session.execute(
        _write_to(partition_of(planned_at)),
        {
            "planned_at": planned_at,
            "held_batch_id": batch_id,
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
    counts: Counter[DeliveryStatus] = Counter()
    moved: set[str] = set()
    for status, count, elsewhere in changed:
        counts[DeliveryStatus(status)] = count
        moved.update(elsewhere or ())
    note_claimed(session, moved)
    return counts


def note_claimed(session: Session, batch_ids: Collection[str]) -> None:
    """Say of open batches that they are not pending as a whole any more, whether anybody has had them or not."""
    if batch_ids:
        session.execute(_CLAIMED, {"batch_ids": plain_array(batch_ids)})
