"""Leases: how a batch becomes one worker's for a while, and for how long it stays so.

They go by the database's clock, so a worker whose own clock is wrong does no harm. Nobody gets one in a lane that
is paused, and nobody at all while an operator drains.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from app.delivery.lanes import Lane
from app.delivery.pace import Condition, recovered_rate
from app.delivery.refusals import IS_OPEN
from app.models import NotificationState

LEASE = timedelta(seconds=60)

# As text, built once: to build a statement costs more than to run it.
_CLAIM = """
    WITH picked AS MATERIALIZED (
        SELECT batch.id, batch.tenant_id, batch.endpoint_host, batch.vapid_key_id
        FROM push_delivery_batches AS batch
        WHERE {wanted}
          AND (batch.state = 'ready' OR (batch.state = 'leased' AND batch.leased_until < now()))
          AND NOT EXISTS (SELECT FROM push_drain)
          AND NOT EXISTS (
              SELECT FROM push_service_states AS state
              WHERE state.tenant_id = {tenant_id}
                AND state.endpoint_host = {endpoint_host}
                AND state.vapid_key_id = {vapid_key_id}
                AND state.paused_until > now()
          )
        {first}
    )
    UPDATE push_delivery_batches AS batch
    SET state = 'leased', lease_token = :lease_token, leased_until = now() + :lease,
        claimed_at = coalesce(batch.claimed_at, now())
    FROM picked
    LEFT JOIN push_service_states AS state
      ON state.tenant_id = picked.tenant_id
     AND state.endpoint_host = picked.endpoint_host
     AND state.vapid_key_id = picked.vapid_key_id
    WHERE batch.id = picked.id
    RETURNING batch.id, batch.lease_token, batch.notification_id, batch.planned_at, batch.tenant_id,
              batch.endpoint_host, batch.vapid_key_id, batch.attempt, batch.position, now() AS claimed_at,
              coalesce(state.strikes, 0) AS strikes, state.slowed_to,
              CAST(extract(epoch FROM now() - state.slowed_at) AS double precision) AS slowed_seconds,
              coalesce(state.reason = 'refused', false) AS is_refused,
              CASE WHEN {is_open} THEN state.window_started_at END AS window_since
"""
_IN_LANE = {
    "wanted": "batch.tenant_id = :tenant_id AND batch.endpoint_host = :endpoint_host"
    " AND batch.vapid_key_id = :vapid_key_id AND batch.not_before <= now()",
    **{column: f":{column}" for column in Lane._fields},
}
_NEXT_IN_LANE = text(
    _CLAIM.format(
        first="ORDER BY batch.position, batch.not_before, batch.id LIMIT 1 FOR UPDATE SKIP LOCKED",
        is_open=IS_OPEN,
        **_IN_LANE,
    )
)
# No index has this order: it reads the whole lane, and is for now and then.
_LONGEST_DUE_IN_LANE = text(
    _CLAIM.format(
        first="ORDER BY batch.not_before, batch.id LIMIT 1 FOR UPDATE SKIP LOCKED", is_open=IS_OPEN, **_IN_LANE
    )
)
_BY_ID = text(
    _CLAIM.format(
        wanted="batch.id = :batch_id",
        first="FOR UPDATE",
        is_open=IS_OPEN,
        **{column: f"batch.{column}" for column in Lane._fields},
    )
)
_RENEW = text(
    """
    UPDATE push_delivery_batches AS batch
    SET leased_until = now() + :lease
    FROM push_notifications AS notification
    WHERE batch.id = :batch_id AND batch.lease_token = :lease_token AND notification.id = batch.notification_id
    RETURNING notification.state,
              EXISTS (SELECT FROM push_drain) OR EXISTS (
                  SELECT FROM push_service_states AS state
                  WHERE state.tenant_id = batch.tenant_id
                    AND state.endpoint_host = batch.endpoint_host
                    AND state.vapid_key_id = batch.vapid_key_id
                    AND state.paused_until > now()
              ) AS must_wait
    """
)


@dataclass(frozen=True, slots=True)
class Lease:
    """A batch that is ours for a while. `claimed_at` is the database's time, `condition` the lane's then."""

    batch_id: UUID
    lease_token: UUID
    notification_id: UUID
    planned_at: datetime
    lane: Lane
    attempt: int
    position: int
    claimed_at: datetime
    condition: Condition


def lease_next(session: Session, lane: Lane, *, longest_due: bool = False) -> Lease | None:
    """Claim the first batch of a lane that is due and that nobody holds, or return None. Waits for nobody.

    `longest_due`: the one that has been due for longest, whatever its place in its notification.
    """
    return _lease(session, _LONGEST_DUE_IN_LANE if longest_due else _NEXT_IN_LANE, **lane._asdict())


def lease_batch(session: Session, batch_id: UUID) -> Lease | None:
    """Claim the batch, or return None when another has it, when it is closed, and while its lane has to wait."""
    return _lease(session, _BY_ID, batch_id=batch_id)


def renew_lease(session: Session, batch_id: UUID, lease_token: UUID) -> tuple[NotificationState | None, bool]:
    """Hold the batch for another lease.

    Return its notification's state, None when the lease was lost, and whether its lane has to wait now.
    """
    held = session.execute(_RENEW, {"batch_id": batch_id, "lease_token": lease_token, "lease": LEASE}).one_or_none()
    return (None, True) if held is None else (NotificationState(held.state), held.must_wait)


def _lease(session: Session, statement: TextClause, **which: Any) -> Lease | None:
    row = session.execute(statement, {"lease_token": uuid4(), "lease": LEASE, **which}).one_or_none()
    if row is None:
        return None
    return Lease(
        batch_id=row.id,
        lease_token=row.lease_token,
        notification_id=row.notification_id,
        planned_at=row.planned_at,
        lane=Lane(row.tenant_id, row.endpoint_host, row.vapid_key_id),
        attempt=row.attempt,
        position=row.position,
        claimed_at=row.claimed_at,
        condition=Condition(
            row.strikes,
            recovered_rate(row.slowed_to, row.slowed_seconds or 0.0),
            is_refused=row.is_refused,
            window_since=row.window_since,
        ),
    )
