"""What an operator does with a suspected mass loss: believe it, undo it, or be done with it. guard.py finds it.

A million subscriptions may be in a quarantine: they are restored and pruned in chunks, so the caller repeats until
nobody is left. Interrupted, it goes on where it was.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import TextClause, func, select, text, update
from sqlalchemy.orm import Session

from app.db.arrays import plain_array
from app.db.session import without_time_limit
from app.delivery.lanes import Lane
from app.delivery.pace import PauseReason
from app.models import Quarantine, ServiceState, Tenant, VapidKey

# Let go in one transaction: nobody who sends waits for more than that.
ROWS_AT_ONCE = 1_000
FOUND_AT_ONCE = 100_000
LISTED = 50
RELEASED, PRUNED, RESTORED = "released", "pruned", "restored"

# Served by ix_push_subscriptions_quarantine_id. Who subscribed again is not in it any more.
_MEMBERS = "quarantine_id = :quarantine_id AND gone_at IS NOT NULL AND deleted_at IS NULL"
_COUNT = text(f"SELECT count(*) FROM push_subscriptions WHERE {_MEMBERS}")  # noqa: S608 - constants
_FIND = text(
    f"""
    SELECT CAST(id AS text) FROM push_subscriptions
    WHERE {_MEMBERS} AND quarantined_at <= :until LIMIT :at_once
    """  # noqa: S608 - constants
)
# Looked up by their key and nothing else: the statistics know nothing of a loss a moment ago.
_LET_GO = """
    WITH held AS MATERIALIZED (
        SELECT id, gone_at, deleted_at, quarantine_id FROM push_subscriptions
        WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE push_subscriptions AS subscription
    SET quarantine_id = NULL, quarantined_at = NULL, updated_at = now(), {change}
    FROM held
    WHERE subscription.id = held.id
      AND held.quarantine_id = :quarantine_id AND held.gone_at IS NOT NULL AND held.deleted_at IS NULL
"""
# Switched off by its user since: then it stays off. `updated_at` is when somebody last changed it, no mark of ours;
# with new topics alone (subscriptions/service.py) it stays as it is.
_RESTORE = text(
    _LET_GO.format(
        change="enabled = subscription.enabled OR subscription.updated_at <= subscription.gone_at,"
        " gone_at = NULL, failure_count = 0, last_failure_at = NULL, last_failure_reason = NULL",
    )
)
_PRUNE = text(_LET_GO.format(change="deleted_at = now()"))
# Whoever was put off there is tried at once. Passes over what somebody is just working on, or a request holds.
_HASTEN = text(
    """
    WITH waiting AS MATERIALIZED (
        SELECT id FROM push_delivery_batches
        WHERE tenant_id = :tenant_id AND endpoint_host = :endpoint_host AND vapid_key_id = :vapid_key_id
          AND state = 'ready' AND not_before > now() AND (claimed_at IS NOT NULL OR attempt > 1)
        FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE push_delivery_batches AS batch SET not_before = now() FROM waiting WHERE batch.id = waiting.id
    """
)


class Listed(NamedTuple):
    """A quarantine, and how many are in it. `public_key` is that of its VAPID key, `tenant` the slug."""

    quarantine: Quarantine
    members: int
    public_key: str
    tenant: str

    @property
    def lane(self) -> Lane:
        return lane_of(self.quarantine)


class RefusedLane(NamedTuple):
    """A lane that is paused because our credentials are refused there, and since when nothing else was said."""

    lane: Lane
    public_key: str
    tenant: str
    tried: int
    refused: int


def lane_of(quarantine: Quarantine) -> Lane:
    return Lane(quarantine.tenant_id, quarantine.endpoint_host, quarantine.vapid_key_id)


def listed(session: Session) -> list[Listed]:
    """Return the open quarantines and some that have ended, the newest first."""
    found = session.execute(
        select(Quarantine, VapidKey.public_key, Tenant.slug)
        .join(VapidKey, VapidKey.id == Quarantine.vapid_key_id)
        .join(Tenant, Tenant.id == Quarantine.tenant_id)
        .order_by(Quarantine.ended_at.is_not(None), Quarantine.id.desc())
        .limit(LISTED)
    )
    return [Listed(row[0], count(session, row[0].id), row.public_key, row.slug) for row in found]


def open_ids(session: Session, *, host: str | None = None) -> list[UUID]:
    """Return the quarantines that are open, those of a push service's host or all, the oldest first."""
    query = select(Quarantine.id).where(Quarantine.ended_at.is_(None)).order_by(Quarantine.id)
    return list(session.scalars(query if host is None else query.where(Quarantine.endpoint_host == host)))


def refused_lanes(session: Session, *, host: str | None = None) -> list[RefusedLane]:
    """Return the lanes that refuse our credentials, those of a host or all."""
    query = (
        select(ServiceState, VapidKey.public_key, Tenant.slug)
        .join(VapidKey, VapidKey.id == ServiceState.vapid_key_id)
        .join(Tenant, Tenant.id == ServiceState.tenant_id)
        .where(ServiceState.reason == PauseReason.REFUSED.value)
        .order_by(ServiceState.endpoint_host, ServiceState.tenant_id, ServiceState.vapid_key_id)
    )
    found = session.execute(query if host is None else query.where(ServiceState.endpoint_host == host))
    return [
        RefusedLane(
            Lane(state.tenant_id, state.endpoint_host, state.vapid_key_id),
            public_key,
            slug,
            state.window_tried,
            state.window_refused,
        )
        for state, public_key, slug in found
    ]


def open_hosts(session: Session) -> list[str]:
    """Return the push service's host of each open quarantine."""
    return list(session.scalars(select(Quarantine.endpoint_host).where(Quarantine.ended_at.is_(None))))


def members_by_host(session: Session) -> list[tuple[str, int]]:
    """Return how many are held in each open quarantine, by the push service's host. Reads them all."""
    opened = select(Quarantine.id, Quarantine.endpoint_host).where(Quarantine.ended_at.is_(None))
    return [(host, count(session, quarantine_id)) for quarantine_id, host in session.execute(opened)]


def find(session: Session, quarantine_id: UUID) -> Quarantine | None:
    return session.get(Quarantine, quarantine_id)


def count(session: Session, quarantine_id: UUID) -> int:
    """Return how many are in a quarantine, or were when it was released. Reads them all."""
    without_time_limit(session)
    return int(session.execute(_COUNT, {"quarantine_id": quarantine_id}).scalar_one())


def release(session: Session, quarantine_id: UUID) -> int | None:
    """Believe the loss: who is in it is gone like any other. Return how many; None when it has ended already."""
    quarantine = _locked(session, quarantine_id)
    if quarantine.ended_at is not None:
        return None
    members = count(session, quarantine_id)
    _end(session, quarantine_id, RELEASED, members)
    return members


def members(session: Session, quarantine_id: UUID, *, until: datetime) -> list[str]:
    """Return ids of those who came in until then: a great many at most, so ask again when they are let go."""
    without_time_limit(session)
    values = {"quarantine_id": quarantine_id, "until": until, "at_once": FOUND_AT_ONCE}
    return sorted(session.scalars(_FIND, values))


def restore(session: Session, quarantine_id: UUID, ids: Sequence[str]) -> int:
    """Make these active again, of a quarantine that is open or has ended; return how many still were in it."""
    return _let_go(session, _RESTORE, quarantine_id, RESTORED, ids)


def prune(session: Session, quarantine_id: UUID, ids: Sequence[str]) -> int:
    """Soft-delete these; return how many still were in it."""
    return _let_go(session, _PRUNE, quarantine_id, PRUNED, ids)


def end_if_empty(session: Session, quarantine_id: UUID, how: str) -> int:
    """End a quarantine in which nobody is left; return how many are, who came in meanwhile."""
    quarantine = _locked(session, quarantine_id)
    members = count(session, quarantine_id)
    if members == 0 and quarantine.ended_at is None:
        _end(session, quarantine_id, how, quarantine.ended_count or 0)
    return members


def resume(session: Session, lanes: Collection[Lane]) -> None:
    """Let lanes that refuse our credentials be sent to at once, as if they never had."""
    for lane in sorted(lanes):
        session.execute(
            update(ServiceState)
            .where(
                ServiceState.tenant_id == lane.tenant_id,
                ServiceState.endpoint_host == lane.endpoint_host,
                ServiceState.vapid_key_id == lane.vapid_key_id,
                ServiceState.reason == PauseReason.REFUSED.value,
            )
            .values(
                reason=None,
                paused_until=None,
                strikes=0,
                window_started_at=func.now(),
                window_tried=0,
                window_refused=0,
                updated_at=func.now(),
            )
        )
        session.execute(_HASTEN, lane._asdict())


def _let_go(session: Session, statement: TextClause, quarantine_id: UUID, how: str, ids: Sequence[str]) -> int:
    quarantine = _locked(session, quarantine_id)  # before its members, as whoever lets them join does
    values = {"quarantine_id": quarantine_id, "ids": plain_array(ids)}
    let_go = session.connection().execute(statement, values).rowcount
    if let_go:
        is_another_end = quarantine.ended_as not in (None, how)
        before = 0 if is_another_end else quarantine.ended_count or 0
        changed: dict[str, Any] = {"ended_count": before + let_go}
        if is_another_end:
            changed["ended_as"] = how
        session.execute(update(Quarantine).where(Quarantine.id == quarantine_id).values(**changed))
    return let_go


def _end(session: Session, quarantine_id: UUID, how: str, members: int) -> None:
    session.execute(
        update(Quarantine)
        .where(Quarantine.id == quarantine_id)
        .values(ended_at=func.clock_timestamp(), ended_as=how, ended_count=members)
    )


def _locked(session: Session, quarantine_id: UUID) -> Quarantine:
    return session.scalars(
        select(Quarantine)
        .where(Quarantine.id == quarantine_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
