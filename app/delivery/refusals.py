"""Refused credentials: who of a lane answers 401 or 403, and when that is our fault and not the subscriptions'.

Only established subscriptions count: anybody can hand in others that are made with a foreign key. A lane where most
of them are refused waits, and one message a minute asks whether an operator has mended it.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.delivery.lanes import Lane
from app.delivery.pace import REFUSED_PAUSE_SECONDS, Condition, Pause, PauseReason
from app.delivery.recipients import Recipient
from app.push.outcome import Outcome, Verdict

ENOUGH_TRIED = 20
REFUSED_SHARE = 0.5
PAUSE = Pause(PauseReason.REFUSED, REFUSED_PAUSE_SECONDS)
# A window begins with a refusal. It ends after an hour, or so many tried of whom most were not refused: what was
# accepted long ago says nothing of today, and where hardly anybody is refused there is mostly nothing to count.
WINDOW_SECONDS = 3600
WINDOW_TRIED = 1000

_NO_ANSWER = frozenset({Verdict.RETRY, Verdict.EXPIRED})

IS_OPEN = f"""
    state.window_tried > 0
    AND state.window_started_at > now() - interval '{WINDOW_SECONDS} seconds'
    AND (state.window_tried < {WINDOW_TRIED} OR state.window_refused > {REFUSED_SHARE} * state.window_tried)
"""
_OF_LANE = "tenant_id = :tenant_id AND endpoint_host = :endpoint_host AND vapid_key_id = :vapid_key_id"
_WINDOW = text(
    f"""
    SELECT window_tried, window_refused FROM push_service_states AS state WHERE {_OF_LANE} AND {IS_OPEN}
    """  # noqa: S608 - constants
)
_COUNT_REFUSED = text(
    f"""
    INSERT INTO push_service_states AS state
        (tenant_id, endpoint_host, vapid_key_id, window_started_at, window_tried, window_refused)
    VALUES (:tenant_id, :endpoint_host, :vapid_key_id, now(), :tried, :refused)
    ON CONFLICT (tenant_id, endpoint_host, vapid_key_id) DO UPDATE
    SET window_started_at = CASE WHEN {IS_OPEN} THEN state.window_started_at ELSE now() END,
        window_tried = CASE WHEN {IS_OPEN} THEN state.window_tried ELSE 0 END + excluded.window_tried,
        window_refused = CASE WHEN {IS_OPEN} THEN state.window_refused ELSE 0 END + excluded.window_refused,
        updated_at = now()
    RETURNING window_tried, window_refused
    """  # noqa: S608 - constants
)
_COUNT_TRIED = text(
    f"""
    UPDATE push_service_states AS state
    SET window_tried = window_tried + :tried, updated_at = now()
    WHERE {_OF_LANE} AND {IS_OPEN}
    """  # noqa: S608 - constants
)


@dataclass(frozen=True, slots=True)
class Count:
    """Established subscriptions of a lane: who got an answer that is not about the moment, and who was refused."""

    tried: int = 0
    refused: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(self.tried + other.tried, self.refused + other.refused)

    @property
    def is_our_fault(self) -> bool:
        return self.tried >= ENOUGH_TRIED and self.refused > REFUSED_SHARE * self.tried


def is_refusal(lane: Lane, recipient: Recipient, outcome: Outcome) -> bool:
    """Return whether this answer speaks against the lane's credentials: an established one of it was refused."""
    return (
        outcome.verdict is Verdict.KEY_MISMATCH
        and recipient.is_established
        and recipient.vapid_key_id == str(lane.vapid_key_id)
    )


def count(
    answered: Sequence[tuple[Recipient, Outcome]], refused: Collection[Recipient], condition: Condition
) -> Count:
    """Count for the window. Who was refused in it before is counted no more: twenty are twenty subscriptions."""
    again = {recipient.subscription_id for recipient in refused if _was_counted(recipient, condition)}
    tried = sum(
        recipient.is_established and outcome.status_code is not None and outcome.verdict not in _NO_ANSWER
        for recipient, outcome in answered
    )
    return Count(tried - len(again), len(refused) - len(again))


def window(session: Session, lane: Lane) -> Count:
    """Return what all processes have counted so far. Locks nothing."""
    row = session.execute(_WINDOW, lane._asdict()).one_or_none()
    return Count() if row is None else Count(*row)


def add(session: Session, lane: Lane, counted: Count) -> Count:
    """Add to the lane's window, and return what is in it now. Without a refusal none is begun."""
    if counted.refused:
        return Count(*session.execute(_COUNT_REFUSED, lane._asdict() | asdict(counted)).one())
    if counted.tried:
        session.execute(_COUNT_TRIED, lane._asdict() | {"tried": counted.tried})
    return counted


def established_first(recipients: Sequence[Recipient]) -> list[Recipient]:
    """Return the recipients in the order in which they may tell whether our credentials are accepted again."""
    return sorted(recipients, key=lambda recipient: not recipient.is_established)


def _was_counted(recipient: Recipient, condition: Condition) -> bool:
    since, refused_at = condition.window_since, recipient.refused_at
    return since is not None and refused_at is not None and refused_at >= since
