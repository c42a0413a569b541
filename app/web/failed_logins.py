"""Credentials that were wrong, counted by the address they came from: whoever guesses is soon told to wait."""

import math
import time

from app.errors import RateLimited
from app.web.limiter import RateLimits


class FailedLogins:
    """The limit of failed log-ins. It decides about guesses only: right credentials always open."""

    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits

    def are_too_many(self, address: str) -> bool:
        """Tell whether the address has used up its guesses. Counts nothing."""
        verdict = self._limits.test("login", address)
        return verdict is not None and not verdict.is_allowed

    def count(self, address: str) -> None:
        """Count a failure. Raises RateLimited past the limit."""
        verdict = self._limits.hit("login", address)
        if verdict is None or verdict.is_allowed:
            return
        seconds = max(1, math.ceil(verdict.reset_at - time.time()))
        raise RateLimited(
            f"Too many wrong credentials came from this address: the limit is {verdict.rate}. Right ones are taken"
            f" all the same; try others in {seconds} s.",
            retry_after_seconds=seconds,
        )
