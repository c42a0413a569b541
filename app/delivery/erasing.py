"""Erasing: the ledger forgets for whom its rows were; how many there are of each kind stays as it is.

Who is erased has no active subscription any more, so that nothing further is planned. A worker that has claimed a
row which is erased meanwhile does not find it again: it records nothing, and the batch counts it as it is now.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.db.arrays import plain_array
from app.delivery import ledger
from app.models import Notification, NotificationState

ROWS_AT_ONCE = 2_000

# Found by ix_push_delivery_logs_subscription_id, whatever the statistics say: see ledger.py. Whoever holds a batch
# may be writing to these rows, too: everybody goes by their keys, notification by notification.
_UNLINK = text(
    """
    SET LOCAL enable_hashjoin = off;
    SET LOCAL enable_mergejoin = off;
    SET LOCAL enable_seqscan = off;
    WITH found AS MATERIALIZED (
        SELECT log.planned_at, log.notification_id, log.subscription_id
        FROM unnest(CAST(:subscription_ids AS uuid[])) AS erased(id)
        JOIN push_delivery_logs AS log ON log.subscription_id = erased.id
        ORDER BY log.notification_id, log.subscription_id
        LIMIT :at_once
        FOR UPDATE OF log
    ), changed AS (
        UPDATE push_delivery_logs AS log
        SET subscription_id = gen_random_uuid(),
            status = CASE log.status WHEN 'pending' THEN 'failed' ELSE log.status END,
            reason = CASE log.status WHEN 'pending' THEN 'erased' ELSE log.reason END,
            error_message = NULL,
            push_message_id = NULL
        FROM found
        WHERE log.planned_at = found.planned_at
          AND log.notification_id = found.notification_id
          AND log.subscription_id = found.subscription_id
        RETURNING log.notification_id, CASE log.reason WHEN 'erased' THEN log.batch_id END AS ended_in
    )
    SELECT count(*) AS rows,
           array_agg(DISTINCT notification_id) AS notification_ids,
           array_agg(DISTINCT CAST(ended_in AS text)) FILTER (WHERE ended_in IS NOT NULL) AS ended_in
    FROM changed
    """
)


@dataclass(frozen=True, slots=True)
class Unlinked:
    """How many rows lost their link, and of which notifications they are."""

    rows: int
    notification_ids: list[UUID]

    @property
    def is_all(self) -> bool:
        return self.rows < ROWS_AT_ONCE


def wait_for_planners(session: Session, tenant_id: UUID) -> None:
    """Return once whoever was planning a page for this tenant has done so.

    What is planned from then on sees what was committed before: who was marked as deleted gets no further row.
    """
    session.execute(
        select(Notification.id)
        .where(Notification.tenant_id == tenant_id, Notification.state == NotificationState.PLANNING)
        .order_by(Notification.id)
        .with_for_update(read=True)  # a planner has the row FOR NO KEY UPDATE
    ).all()


def unlink(session: Session, subscription_ids: Collection[UUID]) -> Unlinked:
    """Put ids that mean nothing in the place of these, in ROWS_AT_ONCE rows at most; what is pending has failed.

    Codes and times stay. What push services said and how they call the message goes: both are about one browser.
    """
    values = {"subscription_ids": plain_array(subscription_ids), "at_once": ROWS_AT_ONCE}
    found = session.execute(_UNLINK, values).one()
    ended_in: Sequence[str] = found.ended_in or ()
    ledger.note_claimed(session, ended_in)
    return Unlinked(found.rows, list(found.notification_ids or ()))
