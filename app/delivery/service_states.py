"""Pauses and paces of lanes, in the database: so that all processes wait, slow down and go on together."""

from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.delivery.lanes import EARLY_SECONDS, Lane
from app.delivery.pace import REFUSED_PAUSE_SECONDS, Pause, Turn

# Who pauses a lane that is paused already only says it again: that is no further strike, nor is it slower for it.
# A lane that refuses us does so until something is accepted, whatever trouble comes in between.
_PAUSE = text(
    """
    INSERT INTO push_service_states AS state
        (tenant_id, endpoint_host, vapid_key_id, paused_until, reason, strikes, slowed_to, slowed_at)
    VALUES (
        :tenant_id, :endpoint_host, :vapid_key_id, now() + :seconds * interval '1 second', :reason, 1,
        CAST(:slow_to AS double precision),
        CASE WHEN CAST(:slow_to AS double precision) IS NOT NULL THEN now() END
    )
    ON CONFLICT (tenant_id, endpoint_host, vapid_key_id) DO UPDATE
    SET paused_until = greatest(state.paused_until, excluded.paused_until),
        reason = CASE WHEN 'refused' IN (state.reason, excluded.reason) THEN 'refused'
                      WHEN state.paused_until > now() THEN state.reason ELSE excluded.reason END,
        strikes = CASE WHEN state.paused_until > now() THEN state.strikes ELSE least(state.strikes + 1, 1000) END,
        slowed_to = CASE WHEN state.paused_until > now() THEN state.slowed_to
                         ELSE coalesce(excluded.slowed_to, state.slowed_to) END,
        slowed_at = CASE WHEN state.paused_until > now() THEN state.slowed_at
                         ELSE coalesce(excluded.slowed_at, state.slowed_at) END,
        updated_at = now()
    """
)
_RECOVER = text(
    """
    UPDATE push_service_states
    SET strikes = 0, reason = NULL, paused_until = NULL,
        window_started_at = now(), window_tried = 0, window_refused = 0, updated_at = now()
    WHERE tenant_id = :tenant_id AND endpoint_host = :endpoint_host AND vapid_key_id = :vapid_key_id
      AND strikes > 0 AND (paused_until IS NULL OR paused_until <= now() OR reason = 'refused')
    RETURNING 1
    """
)
# Who asks a lane that refuses us holds it for as long as a pause, so that nobody else asks; if he dies, that ends.
_BEGIN_PROBE = text(
    """
    UPDATE push_service_states
    SET paused_until = now() + :seconds * interval '1 second', updated_at = now()
    WHERE tenant_id = :tenant_id AND endpoint_host = :endpoint_host AND vapid_key_id = :vapid_key_id
      AND reason = 'refused' AND paused_until <= now()
    RETURNING 1
    """
)
_END_PROBE = text(
    """
    UPDATE push_service_states
    SET paused_until = now(), updated_at = now()
    WHERE tenant_id = :tenant_id AND endpoint_host = :endpoint_host AND vapid_key_id = :vapid_key_id
      AND reason = 'refused'
    """
)
_LOCK_PACE = text("SELECT pg_advisory_xact_lock(hashtextextended(:whose, 7))")
_RESERVE = text(
    """
    WITH slot AS (
        SELECT greatest(max(next_slot_at), clock_timestamp()) AS begins_at
        FROM push_service_states
        WHERE endpoint_host = :endpoint_host
          AND (:is_capped OR (tenant_id = :tenant_id AND vapid_key_id = :vapid_key_id))
    )
    INSERT INTO push_service_states AS state (tenant_id, endpoint_host, vapid_key_id, next_slot_at)
    SELECT :tenant_id, :endpoint_host, :vapid_key_id, begins_at + :takes * interval '1 second'
    FROM slot
    WHERE begins_at <= clock_timestamp() + :early * interval '1 second'
    ON CONFLICT (tenant_id, endpoint_host, vapid_key_id) DO UPDATE
    SET next_slot_at = excluded.next_slot_at, updated_at = now()
    RETURNING CAST(next_slot_at AS text) AS until,
              CAST(extract(epoch FROM next_slot_at - clock_timestamp()) AS double precision) - :takes AS begins_in
    """
)
# Only from the end of what is reserved: what was reserved behind it has its time already.
_GIVE_BACK = text(
    """
    UPDATE push_service_states
    SET next_slot_at = next_slot_at - :spare * interval '1 second', updated_at = now()
    WHERE tenant_id = :tenant_id AND endpoint_host = :endpoint_host AND vapid_key_id = :vapid_key_id
      AND next_slot_at = CAST(:until AS timestamptz)
    """
)


class Slot(NamedTuple):
    """Time reserved for a turn: it begins in so many seconds, and ends `until`, as PostgreSQL wrote it."""

    begins_in_seconds: float
    until: str


def pause(session: Session, lane: Lane, pause: Pause) -> None:
    """Let a lane wait. A longer pause that is in force stays."""
    values = {"seconds": pause.seconds, "reason": pause.reason.value, "slow_to": pause.slow_to}
    session.execute(_PAUSE, lane._asdict() | values)


def recover(session: Session, lane: Lane) -> bool:
    """Forget a lane's strikes. False when it has none, or is paused again."""
    return session.execute(_RECOVER, lane._asdict()).one_or_none() is not None


def begin_probe(session: Session, lane: Lane) -> bool:
    """Hold a lane that refuses us, to ask it alone. False when somebody else does, or it does not any more."""
    values = lane._asdict() | {"seconds": REFUSED_PAUSE_SECONDS}
    return session.execute(_BEGIN_PROBE, values).one_or_none() is not None


def end_probe(session: Session, lane: Lane) -> None:
    """Let another ask at once: the answer said nothing about our credentials."""
    session.execute(_END_PROBE, lane._asdict())


def reserve(session: Session, lane: Lane, turn: Turn, *, is_capped: bool) -> Slot | None:
    """Reserve the time that a turn with a rate takes, or return None when the lane's pace is taken for now.

    `is_capped`: the lanes of a host share a pace. Until the transaction ends, others who ask wait.
    """
    assert turn.rate_per_second is not None
    takes = turn.messages / turn.rate_per_second
    whose = lane.endpoint_host if is_capped else "|".join(map(str, lane))
    session.execute(_LOCK_PACE, {"whose": whose})
    values = {"takes": takes, "early": EARLY_SECONDS, "is_capped": is_capped}
    reserved = session.execute(_RESERVE, lane._asdict() | values).one_or_none()
    return None if reserved is None else Slot(max(0.0, reserved.begins_in), reserved.until)


def give_back(session: Session, lane: Lane, turn: Turn, slot: Slot, *, unused: int) -> None:
    """Let others have the time that so many messages of a turn did not need."""
    assert turn.rate_per_second is not None
    session.execute(_GIVE_BACK, lane._asdict() | {"spare": unused / turn.rate_per_second, "until": slot.until})
