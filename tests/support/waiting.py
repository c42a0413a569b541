"""Waits for what another thread, process or server is about to do."""

import time
from collections.abc import Callable

# A machine that does much else at once is slow, not wrong.
DEADLINE_SECONDS = 120.0
POLL_SECONDS = 0.02


def until(
    condition: Callable[[], object],
    what: str = "what the test waits for",
    *,
    within_seconds: float = DEADLINE_SECONDS,
) -> None:
    """Return once the condition holds; fails after the deadline."""
    deadline = time.monotonic() + within_seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_seconds:g} s: {what}"
        time.sleep(POLL_SECONDS)
