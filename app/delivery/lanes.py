"""Lanes: the batches of one tenant, push service and VAPID key. A lane that has to wait holds up no other."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

# A turn at a pace may be taken so long before it begins: whoever takes it waits for it with the messages at hand.
EARLY_SECONDS = 1.0

# From lane to lane by ix_push_delivery_batches_lane, however many batches each has (a loose index scan), and one
# look into each. Nothing is locked.
_OPEN = text(
    """
    WITH RECURSIVE lane AS (
        (
            SELECT tenant_id, endpoint_host, vapid_key_id
            FROM push_delivery_batches
            WHERE state IN ('ready', 'leased')
            ORDER BY tenant_id, endpoint_host, vapid_key_id
            LIMIT 1
        )
        UNION ALL
        SELECT following.tenant_id, following.endpoint_host, following.vapid_key_id
        FROM lane
        CROSS JOIN LATERAL (
            SELECT batch.tenant_id, batch.endpoint_host, batch.vapid_key_id
            FROM push_delivery_batches AS batch
            WHERE batch.state IN ('ready', 'leased')
              AND (batch.tenant_id, batch.endpoint_host, batch.vapid_key_id)
                > (lane.tenant_id, lane.endpoint_host, lane.vapid_key_id)
            ORDER BY batch.tenant_id, batch.endpoint_host, batch.vapid_key_id
            LIMIT 1
        ) AS following
    )
    SELECT lane.tenant_id, lane.endpoint_host, lane.vapid_key_id, first_due.position,
           coalesce(state.strikes, 0) AS strikes
    FROM lane
    LEFT JOIN push_service_states AS state
      ON state.tenant_id = lane.tenant_id
     AND state.endpoint_host = lane.endpoint_host
     AND state.vapid_key_id = lane.vapid_key_id
    CROSS JOIN LATERAL (
        SELECT batch.position
        FROM push_delivery_batches AS batch
        WHERE batch.tenant_id = lane.tenant_id
          AND batch.endpoint_host = lane.endpoint_host
          AND batch.vapid_key_id = lane.vapid_key_id
          AND (batch.state = 'ready' OR (batch.state = 'leased' AND batch.leased_until < now()))
          AND batch.not_before <= now()
        ORDER BY batch.position, batch.not_before, batch.id
        LIMIT 1
    ) AS first_due
    WHERE NOT EXISTS (SELECT FROM push_drain)
      AND (state.paused_until IS NULL OR state.paused_until <= now())
      AND (state.next_slot_at IS NULL OR state.next_slot_at <= now() + :early * interval '1 second')
      AND NOT (:is_capped AND EXISTS (
          SELECT FROM push_service_states AS beside
          WHERE beside.endpoint_host = lane.endpoint_host
            AND beside.next_slot_at > now() + :early * interval '1 second'
      ))
    """
)
_IS_DRAINING = text("SELECT EXISTS (SELECT FROM push_drain)")


class Lane(NamedTuple):
    """What shares limits at a push service, and is sent to with one application server key."""

    tenant_id: UUID
    endpoint_host: str
    vapid_key_id: UUID


class OpenLane(NamedTuple):
    """A lane with a batch to run now. `strikes` are its pauses in a row; with any, this run is a probe."""

    lane: Lane
    position: int
    strikes: int


def open_lanes(session: Session, *, is_capped: bool = False) -> list[OpenLane]:
    """Return the lanes that have a batch due and are neither paused nor at their pace's end; none while draining.

    `is_capped`: the lanes of a host share a pace.
    """
    rows = session.execute(_OPEN, {"early": EARLY_SECONDS, "is_capped": is_capped})
    return [OpenLane(Lane(*row[:3]), row.position, row.strikes) for row in rows]


def is_draining(session: Session) -> bool:
    """Return whether an operator wants nothing to be begun."""
    return session.execute(_IS_DRAINING).scalar_one() is True
