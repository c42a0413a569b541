"""The guard against mass losses: too many established subscriptions gone at once are held, not believed.

A push service that errs, or a wrong setting of ours, must not cost an audience. The marks of who is gone stay as
they are; a quarantine keeps them from being purged until an operator has decided (quarantine.py).
"""

from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.arrays import plain_array
from app.db.session import SessionFactory, transaction, without_time_limit
from app.delivery.lanes import Lane
from app.ids import new_id
from app.models import Quarantine

ENOUGH_GONE = 20
GONE_SHARE = 0.2
WINDOW_HOURS = 24
# Each in a transaction of its own: nobody who sends waits for more than that.
ROWS_AT_ONCE = 1_000
FOUND_AT_ONCE = 100_000
COUNTED_AT_ONCE = 20_000

# Served by ix_push_subscriptions_gone_at. Who is in a quarantine that has ended was judged by an operator.
_GONE = text(
    f"""
    SELECT tenant_id, endpoint_host, vapid_key_id,
           greatest(now() - interval '{WINDOW_HOURS} hours', known.ended_at) AS since,
           known.open_id,
           count(*) FILTER (WHERE subscription.first_accepted_at IS NOT NULL) AS established
    FROM push_subscriptions AS subscription
    LEFT JOIN (
        SELECT tenant_id, endpoint_host, vapid_key_id, max(ended_at) AS ended_at,
               (array_agg(id) FILTER (WHERE ended_at IS NULL))[1] AS open_id
        FROM push_quarantines
        GROUP BY tenant_id, endpoint_host, vapid_key_id
    ) AS known USING (tenant_id, endpoint_host, vapid_key_id)
    WHERE subscription.gone_at > now() - interval '{WINDOW_HOURS} hours'
      AND subscription.quarantine_id IS NULL AND subscription.deleted_at IS NULL
      AND (known.ended_at IS NULL OR subscription.gone_at > known.ended_at)
    GROUP BY tenant_id, endpoint_host, vapid_key_id, known.ended_at, known.open_id
    HAVING known.open_id IS NOT NULL
        OR count(*) FILTER (WHERE subscription.first_accepted_at IS NOT NULL) >= {ENOUGH_GONE}
    ORDER BY tenant_id, endpoint_host, vapid_key_id
    """  # noqa: S608 - constants
)
# A page of the audience by its key: no index leads to those who were sent to lately, as none may be written to by
# every broadcast. Most pages are full of them.
_ACCEPTED = text(
    """
    WITH page AS MATERIALIZED (
        SELECT id, tenant_id, endpoint_host, vapid_key_id, last_used, first_accepted_at, gone_at, deleted_at
        FROM push_subscriptions WHERE id > :after ORDER BY id LIMIT :at_once
    )
    SELECT (SELECT id FROM page ORDER BY id DESC LIMIT 1) AS last_id, (
        SELECT count(*) FROM page
        WHERE tenant_id = :tenant_id AND endpoint_host = :endpoint_host AND vapid_key_id = :vapid_key_id
          AND last_used > :since AND first_accepted_at IS NOT NULL AND gone_at IS NULL AND deleted_at IS NULL
    ) AS accepted
    """
)
_HOLD_OPEN = text("SELECT 1 FROM push_quarantines WHERE id = :quarantine_id AND ended_at IS NULL FOR SHARE")
_NOT_HELD = text(
    """
    SELECT CAST(id AS text) FROM push_subscriptions
    WHERE gone_at > :since
      AND tenant_id = :tenant_id AND endpoint_host = :endpoint_host AND vapid_key_id = :vapid_key_id
      AND quarantine_id IS NULL AND deleted_at IS NULL
    LIMIT :at_once
    """
)
# Looked up by their key and nothing else: the statistics know nothing of a loss a moment ago.
_JOIN = text(
    """
    WITH held AS MATERIALIZED (
        SELECT id, gone_at, deleted_at, quarantine_id FROM push_subscriptions
        WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE push_subscriptions AS subscription
    SET quarantine_id = :quarantine_id, quarantined_at = now()
    FROM held
    WHERE subscription.id = held.id
      AND held.gone_at IS NOT NULL AND held.deleted_at IS NULL AND held.quarantine_id IS NULL
    """
)
_NOBODY = UUID(int=0)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Loss:
    """A lane in which some are gone since a moment. So many of them are established: they were accepted before."""

    lane: Lane
    since: datetime
    established: int
    open_id: UUID | None


def losses(session: Session) -> list[Loss]:
    """Return the lanes in which enough are gone to ask how many were tried, and those with an open quarantine that
    others are to join. Reads all who are gone in the window: they may be millions.
    """
    without_time_limit(session)
    return [Loss(Lane(*row[:3]), row.since, row.established, row.open_id) for row in session.execute(_GONE)]


def is_mass_loss(gone: int, tried: int) -> bool:
    """Return whether so many gone, of so many tried, are not to be believed."""
    return gone >= ENOUGH_GONE and gone > GONE_SHARE * tried


def look(sessions: SessionFactory) -> None:
    """Open quarantines where losses are not to be believed, and let those join who are gone in the lane of one.

    Owns its transactions, all of them short. Safe to repeat, to interrupt and to run twice at once.
    """
    hold(sessions, losses_not_believed(sessions))


def losses_not_believed(sessions: SessionFactory) -> list[Loss]:
    """Return the losses of lanes with an open quarantine: those that had one, and those that now get one."""
    with transaction(sessions) as session:
        found = losses(session)
    return [loss for loss in (_judged(sessions, loss) for loss in found) if loss.open_id is not None]


def hold(sessions: SessionFactory, not_believed: Iterable[Loss]) -> None:
    """Let those join who are gone in these lanes."""
    for loss in not_believed:
        if loss.open_id is not None:
            join(sessions, loss.open_id, loss.lane, since=loss.since)


def _judged(sessions: SessionFactory, loss: Loss) -> Loss:
    if loss.open_id is not None:
        return loss
    tried = tried_in(sessions, loss)
    return replace(loss, open_id=_open(sessions, loss, tried)) if is_mass_loss(loss.established, tried) else loss


def tried_in(sessions: SessionFactory, loss: Loss) -> int:
    """Count the established ones tried since then, gone or accepted, up to what proves that the loss is small."""
    tried, after = loss.established, _NOBODY
    while is_mass_loss(loss.established, tried):
        values = {**loss.lane._asdict(), "since": loss.since, "after": after, "at_once": COUNTED_AT_ONCE}
        with transaction(sessions) as session:
            page = session.execute(_ACCEPTED, values).one()
        if page.last_id is None:
            break
        tried, after = tried + page.accepted, page.last_id
    return tried


def join(sessions: SessionFactory, quarantine_id: UUID, lane: Lane, *, since: datetime) -> int:
    """Let all who are gone since then in the lane join its quarantine while it is open; return how many did."""
    joined = sum(_join_by_and_by(sessions, quarantine_id, lane, since))
    if joined:
        log.info(
            "gone subscriptions put in quarantine",
            service_host=lane.endpoint_host,
            count=joined,
            quarantine=str(quarantine_id),
        )
    return joined


def _join_by_and_by(sessions: SessionFactory, quarantine_id: UUID, lane: Lane, since: datetime) -> Generator[int]:
    """Yield how many have joined, chunk by chunk."""
    values = {**lane._asdict(), "since": since, "at_once": FOUND_AT_ONCE}
    joined_of_found = True
    while joined_of_found:
        with transaction(sessions) as session:
            without_time_limit(session)
            found = sorted(session.scalars(_NOT_HELD, values))
        joined_of_found = False
        for first in range(0, len(found), ROWS_AT_ONCE):
            ids = found[first : first + ROWS_AT_ONCE]
            with transaction(sessions) as session:
                if session.execute(_HOLD_OPEN, {"quarantine_id": quarantine_id}).one_or_none() is None:
                    return
                joined = session.connection().execute(
                    _JOIN, {"quarantine_id": quarantine_id, "ids": plain_array(ids)}
                )
            joined_of_found |= joined.rowcount > 0
            yield joined.rowcount


def _open(sessions: SessionFactory, loss: Loss, tried: int) -> UUID | None:
    """Open a quarantine for the lane; None when another process was faster: then it lets them join."""
    with transaction(sessions) as session:
        opened = session.execute(
            insert(Quarantine)
            .values(id=new_id(), **loss.lane._asdict(), gone_count=loss.established, tried_count=tried)
            .on_conflict_do_nothing(
                index_elements=["tenant_id", "endpoint_host", "vapid_key_id"],
                index_where=text("ended_at IS NULL"),
            )
            .returning(Quarantine.id)
        ).scalar_one_or_none()
    if opened is not None:
        log.warning(
            "mass loss suspected: gone subscriptions are kept in quarantine",
            service_host=loss.lane.endpoint_host,
            gone=loss.established,
            tried_at_least=tried,
            quarantine=str(opened),
            hint="python -m app.cli quarantine list",
        )
    return opened
