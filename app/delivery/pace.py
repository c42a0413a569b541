"""How fast a lane may go, and when it has to wait: decisions from what its push service answers. Pure.

service_states.py keeps them where all processes see them.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from statistics import median

from app.push.outcome import Outcome, Reason, Verdict

# A few refusals may be about a few subscriptions: some services limit each of them, too.
ENOUGH_ANSWERS = 5
THROTTLED_SHARE = 0.1
TROUBLED_SHARE = 0.5
SHORTEST_PAUSE_SECONDS, LONGEST_WISH_SECONDS = 1.0, 900.0
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 5.0, 300.0
SLOWEST_RATE, UNLIMITED_RATE = 1.0, 5_000.0
DOUBLES_EVERY_SECONDS = 60.0
TURN_SECONDS = 10.0
PROBE_MESSAGES = 8
# A service that refuses our credentials is asked with one message at a time.
REFUSED_PROBE_MESSAGES, REFUSED_PAUSE_SECONDS = 1, 60.0

_ACCEPTED = Verdict.ACCEPTED
_TROUBLE = frozenset(
    {
        *(Reason.TIMEOUT, Reason.CONNECTION_FAILED, Reason.CONNECTION_BROKEN, Reason.DNS_FAILURE),
        *(Reason.ADDRESS_NOT_PUBLIC, Reason.TLS_REFUSED, Reason.BAD_ANSWER, Reason.PUSH_SERVICE_ERROR),
        *(Reason.UNEXPECTED_STATUS, Reason.REDIRECT_REFUSED),
    }
)


class PauseReason(StrEnum):
    THROTTLED = "throttled"  # it asks for less
    TROUBLED = "troubled"  # it does not answer, or not well
    REFUSED = "refused"  # it does not accept our credentials: see refusals.py


@dataclass(frozen=True, slots=True)
class Tally:
    """Answers of a push service, counted. `answered` are all that say something about it; wishes are seconds."""

    answered: int = 0
    accepted: int = 0
    throttled: int = 0
    troubled: int = 0
    throttled_wishes: tuple[int, ...] = ()
    troubled_wishes: tuple[int, ...] = ()

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> "Tally":
        others = [outcome for outcome in outcomes if outcome.verdict is not _ACCEPTED]
        accepted = len(outcomes) - len(others)
        if not others:
            return cls(accepted, accepted)
        throttled = [outcome for outcome in others if is_throttled(outcome)]
        troubled = [outcome for outcome in others if _is_trouble(outcome)]
        plain = sum(outcome.status_code is not None for outcome in others if not _is_trouble(outcome))
        return cls(
            accepted + plain + len(troubled),
            accepted,
            len(throttled),
            len(troubled),
            _wishes(throttled),
            _wishes(troubled),
        )

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.answered + other.answered,
            self.accepted + other.accepted,
            self.throttled + other.throttled,
            self.troubled + other.troubled,
            self.throttled_wishes + other.throttled_wishes,
            self.troubled_wishes + other.troubled_wishes,
        )

    @property
    def is_healthy(self) -> bool:
        # That subscriptions have ended says nothing bad of their push service.
        return self.accepted > 0 and (self.throttled + self.troubled) * 2 < self.answered


@dataclass(frozen=True, slots=True)
class Pause:
    """That a lane has to wait, and how slow it is to begin again; None: as before."""

    reason: PauseReason
    seconds: float
    slow_to: float | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """How a lane was when a batch of it was claimed. `slowed_to` is what it may do by now; None: all it can.

    `is_refused`: it was paused because our credentials are refused, and nothing was accepted since. `window_since`
    is when the window began in which its refusals are counted; None: there is none open.
    """

    strikes: int = 0
    slowed_to: float | None = None
    is_refused: bool = False
    window_since: datetime | None = None

    @property
    def is_probe(self) -> bool:
        return self.strikes > 0


@dataclass(frozen=True, slots=True)
class Turn:
    """What may be posted of a claimed batch in one go; the rest is given back."""

    messages: int
    rate_per_second: float | None = field(default=None)


def decide(tally: Tally, condition: Condition, *, rate: float) -> Pause | None:
    """Return the pause that these answers call for, if any. `rate` is how fast the lane went, messages a second."""
    enough = 1 if condition.is_probe and not tally.accepted else ENOUGH_ANSWERS
    if tally.throttled >= enough and tally.throttled >= THROTTLED_SHARE * tally.answered:
        slow_to = max(SLOWEST_RATE, (condition.slowed_to or rate) / 2)
        return Pause(PauseReason.THROTTLED, _seconds(tally.throttled_wishes, condition.strikes), slow_to)
    if tally.troubled >= enough and tally.troubled > TROUBLED_SHARE * tally.answered:
        return Pause(PauseReason.TROUBLED, _seconds(tally.troubled_wishes, condition.strikes))
    return None


def recovered_rate(slowed_to: float | None, seconds: float) -> float | None:
    """Return what a lane may do by now that was slowed so many seconds ago: twice as much each minute."""
    if slowed_to is None:
        return None
    doublings = min(max(seconds, 0.0) / DOUBLES_EVERY_SECONDS, 60.0)  # a database's clock may have been set back
    rate: float = slowed_to * 2.0**doublings
    return None if rate >= UNLIMITED_RATE else rate


def turn_of(condition: Condition, *, messages: int, max_per_second: float | None) -> Turn:
    """Return how many of these messages may be posted before the lane is looked at again, and how fast."""
    rates = [rate for rate in (condition.slowed_to, max_per_second) if rate is not None]
    rate = min(rates, default=None)
    if condition.is_probe:
        messages = min(messages, REFUSED_PROBE_MESSAGES if condition.is_refused else PROBE_MESSAGES)
    if rate is not None:
        messages = min(messages, max(1, int(rate * TURN_SECONDS)))
    return Turn(messages, rate)


def is_throttled(outcome: Outcome) -> bool:
    """Return whether the push service asks for less; in a 2xx it is the one channel that gets too much, not we."""
    is_success = outcome.status_code is not None and outcome.status_code < 300
    return outcome.reason is Reason.RATE_LIMITED and not is_success


def _is_trouble(outcome: Outcome) -> bool:
    is_at_once = outcome.retry_after_seconds == 0 and outcome.status_code is not None
    return outcome.verdict is Verdict.RETRY and outcome.reason in _TROUBLE and not is_at_once


def _wishes(outcomes: Sequence[Outcome]) -> tuple[int, ...]:
    wishes = [outcome.retry_after_seconds for outcome in outcomes]
    return tuple(wish for wish in wishes if wish is not None)


def _seconds(wishes: Sequence[int], strikes: int) -> float:
    if wishes:
        return min(max(float(median(wishes)), SHORTEST_PAUSE_SECONDS), LONGEST_WISH_SECONDS)
    longest = min(FIRST_BACKOFF_SECONDS * 2 ** min(strikes, 20), LONGEST_BACKOFF_SECONDS)
    return random.uniform(longest / 2, longest)  # nosec B311  # noqa: S311 - jitter, not a secret
