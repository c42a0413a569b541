"""Rate limits, by slowapi: counted per API key, else user, else address; shared through Redis when it is set.

When Redis is gone the limiter lets everybody pass, counts that, and recovers by itself.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import structlog
from fastapi import Request
from limits import RateLimitItem
from limits import parse as parse_rate
from limits.errors import StorageError
from redis.backoff import NoBackoff
from redis.retry import Retry
from slowapi import Limiter
from slowapi.util import get_remote_address

from app.errors import RateLimited
from app.observability import metrics
from app.settings import Settings
from app.web.auth import CallerDep

LimitKind = Literal["subscription", "notification", "analytics"]

REDIS_TIMEOUT_SECONDS = 0.25
# After a failure Redis is left alone this long, so that an unreachable one delays a request a second, not each.
PAUSE_SECONDS = 1.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Verdict:
    """Where a client stands after a request. `reset_at` (Unix time) is when it gains requests again."""

    is_allowed: bool
    rate: RateLimitItem
    remaining: int
    reset_at: int

    @property
    def headers(self) -> dict[str, str]:
        return {
            "X-RateLimit-Limit": str(self.rate.amount),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset_at),
        }


class RateLimits:
    """The three limits of the settings over one slowapi limiter."""

    def __init__(self, settings: Settings, limiter: Limiter) -> None:
        self._limiter = limiter
        self._rates: dict[str, RateLimitItem] = {
            "subscription": parse_rate(settings.rate_limit_subscription),
            "notification": parse_rate(settings.rate_limit_notification),
            "analytics": parse_rate(settings.rate_limit_analytics),
        }
        self._paused_until = 0.0

    def hit(self, kind: LimitKind, client: str) -> Verdict | None:
        """Count one request of a client and judge it; None, which lets it pass, while Redis is gone."""
        rate = self._rates[kind]
        if time.monotonic() < self._paused_until:
            metrics.rate_limiter_failures.inc()
            return None
        try:
            allowed = self._limiter.limiter.hit(rate, kind, client)
            reset_at, remaining = self._limiter.limiter.get_window_stats(rate, kind, client)
        except StorageError as error:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            metrics.rate_limiter_failures.inc()
            _log.warning("rate limits are not enforced: Redis cannot be reached", error=str(error))
            return None
        return Verdict(is_allowed=allowed, rate=rate, remaining=max(0, remaining), reset_at=math.ceil(reset_at))


def create_limiter(settings: Settings) -> Limiter:
    """Return slowapi's limiter over Redis, or over this process's memory. Connects to nothing yet."""
    # A moving window, because "50/hour" then holds for any hour, not twice that around a boundary.
    if settings.redis_url is None:
        return Limiter(key_func=get_remote_address, strategy="moving-window", storage_uri="memory://")
    options: dict[str, Any] = {
        "wrap_exceptions": True,
        "socket_timeout": REDIS_TIMEOUT_SECONDS,
        "socket_connect_timeout": REDIS_TIMEOUT_SECONDS,
        # One retry, at once: a connection that a restarted Redis closed is simply opened again.
        "retry": Retry(NoBackoff(), 1),
    }
    return Limiter(
        key_func=get_remote_address,
        strategy="moving-window",
        storage_uri=settings.redis_url,
        storage_options=options,
    )


@lru_cache
def limited(kind: LimitKind) -> Callable[[Request, CallerDep], None]:
    """Return the dependency that counts a request: `dependencies=[Depends(limited("analytics"))]`."""

    def count(request: Request, caller: CallerDep) -> None:
        limits: RateLimits = request.app.state.rate_limits
        verdict = limits.hit(kind, caller.rate_key)
        if verdict is None:
            return
        request.state.rate_limit_headers = verdict.headers  # middleware.ResponseHeaders puts them on any answer
        if not verdict.is_allowed:
            seconds = max(1, math.ceil(verdict.reset_at - time.time()))
            raise RateLimited(
                f"The limit is {verdict.rate}. Try again in {seconds} s.", retry_after_seconds=seconds
            )

    return count
