"""When the messages of one call of `send()` may begin, if it is held to a rate."""

from math import inf

# A call that was held up catches up on no more than that: a push service is not to get minutes' worth at once.
_MADE_UP_FOR_SECONDS = 1.0


class Pace:
    """Lets message i begin no sooner than i / rate after the first; without a rate, at any time.

    Times are of one monotonic clock, in seconds. Raises ValueError for a rate that is not positive.
    """

    def __init__(self, rate_per_second: float | None) -> None:
        if rate_per_second is not None and not rate_per_second > 0:
            raise ValueError("a rate is more than 0 messages a second")
        self.is_even = rate_per_second is not None
        self.due_at = -inf  # of the next message
        self._interval_seconds = 1 / rate_per_second if rate_per_second is not None else 0.0

    def note_begun(self, now: float) -> None:
        """Say that a message begins now. Needed only where `is_even`."""
        behind_since = now if self.due_at == -inf else max(self.due_at, now - _MADE_UP_FOR_SECONDS)
        self.due_at = behind_since + self._interval_seconds
