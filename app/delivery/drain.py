"""Draining: an operator's mark, which whoever plans, claims or renews heeds, on every machine.

What is in flight is recorded as it comes, the rest waits; requests are accepted meanwhile.
"""

from typing import NamedTuple

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.models import Drain

# Served by ix_push_delivery_logs_batch_id, without a word on the month: PostgreSQL would read all of that. A lease
# that has run out was of somebody who died, and what he left waits for the end of the drain, too.
_IN_FLIGHT = text(
    """
    SELECT count(*), coalesce(sum(pending.deliveries), 0)
    FROM push_delivery_batches AS batch,
    LATERAL (
        SELECT count(*) AS deliveries
        FROM push_delivery_logs AS log
        WHERE log.batch_id = batch.id AND log.status = 'pending'
    ) AS pending
    WHERE batch.state = 'leased' AND batch.leased_until >= now()
    """
)


class InFlight(NamedTuple):
    """What is claimed by somebody living: the batches, and of them the deliveries without a final outcome."""

    batches: int
    deliveries: int


def begin(session: Session, note: str | None = None) -> None:
    """Set the mark. One that stands keeps its time, and its note unless another is given."""
    mark = insert(Drain).values(note=note)
    session.execute(
        mark.on_conflict_do_update(
            index_elements=[Drain.id], set_={"note": func.coalesce(mark.excluded.note, Drain.note)}
        )
    )


def end(session: Session) -> bool:
    """Take the mark away; the caller rings the bell. False when there was none."""
    return session.execute(delete(Drain).returning(Drain.id)).first() is not None


def find(session: Session) -> Drain | None:
    """Return the mark, None when nobody drains."""
    return session.scalars(select(Drain)).one_or_none()


def in_flight(session: Session) -> InFlight:
    """Return what is in flight, all tenants together."""
    batches, deliveries = session.execute(_IN_FLIGHT).one()
    return InFlight(batches, int(deliveries))
