"""Rate limits, by slowapi: counted per API key, else user, else address; shared through Redis when it is set.

When Redis is gone the limiter lets everybody pass, counts that, and recovers by itself.
"""

import math
import time
from collections.abc import Callable
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
from app.settings import Settings
from app.web.auth import CallerDep

LimitKind = Literal["subscription", "notification", "analytics"]

REDIS_TIMEOUT_SECONDS = 0.25
# After a failure Redis is left alone this long, so that an unreachable one delays a request a second, not each.
PAUSE_SECONDS = 1.0

_log = structlog.get_logger(__name__)


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

    def hit(self, kind: LimitKind, client: str) -> dict[str, str]:
        """Count one request of a client; return the rate-limit headers of its answer, none while Redis is gone.

        Raises RateLimited.
        """
        rate = self._rates[kind]
        if time.monotonic() < self._paused_until:
            return {}
        try:
            allowed = self._limiter.limiter.hit(rate, kind, client)
            reset_at, remaining = self._limiter.limiter.get_window_stats(rate, kind, client)
        except StorageError as error:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            _log.warning("rate limits are not enforced: Redis cannot be reached", error=str(error))
            return {}
        reset_seconds = max(1, math.ceil(reset_at - time.time()))
        headers = {
            "X-RateLimit-Limit": str(rate.amount),
            "X-RateLimit-Remaining": str(max(0, remaining)),
            "X-RateLimit-Reset": str(math.ceil(reset_at)),
        }
        if not allowed:
            raise RateLimited(
                f"At most {rate} of this kind. Try again in {reset_seconds} s.", retry_after_seconds=reset_seconds
            )
        return headers


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
        storage_uri=settings.redis_url.replace("valkey", "redis", 1),
        storage_options=options,
    )


@lru_cache
def limited(kind: LimitKind) -> Callable[[Request, CallerDep], None]:
    """Return the dependency that counts a request: `dependencies=[Depends(limited("analytics"))]`."""

    def count(request: Request, caller: CallerDep) -> None:
        limits: RateLimits = request.app.state.rate_limits
        request.state.rate_limit_headers = limits.hit(kind, caller.rate_key)

    return count
