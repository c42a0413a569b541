"""The counts behind the rate limits, by slowapi: in Redis when it is set, and so shared by all processes.

When Redis is gone the limiter lets everybody pass, counts that, and recovers by itself.
"""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import structlog
from limits import RateLimitItem
from limits import parse as parse_rate
from limits.errors import StorageError
from slowapi import Limiter
from slowapi.util import get_remote_address

from app.observability import metrics
from app.redis_connection import connection_options
from app.settings import Settings
from app.web import limiter_memory

LimitKind = Literal["subscription", "notification", "analytics", "login"]

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
    """The limits of the settings over one slowapi limiter."""

    def __init__(self, settings: Settings, limiter: Limiter) -> None:
        self._limiter = limiter.limiter
        self._rates: dict[LimitKind, RateLimitItem] = {
            "subscription": parse_rate(settings.rate_limit_subscription),
            "notification": parse_rate(settings.rate_limit_notification),
            "analytics": parse_rate(settings.rate_limit_analytics),
            "login": parse_rate(settings.rate_limit_failed_login),
        }
        self._paused_until = 0.0

    def hit(self, kind: LimitKind, client: str) -> Verdict | None:
        """Count one request of a client and judge it; None, which lets it pass, while Redis is gone."""
        return self._asked(kind, client, self._limiter.hit)

    def test(self, kind: LimitKind, client: str) -> Verdict | None:
        """Judge a request of a client without counting it; None, which lets it pass, while Redis is gone."""
        return self._asked(kind, client, self._limiter.test)

    def _asked(self, kind: LimitKind, client: str, ask: Callable[..., bool]) -> Verdict | None:
        rate, name = self._rates[kind], _name_of(client)
        now = time.monotonic()
        if now < self._paused_until:
            metrics.rate_limiter_failures.inc()
            return None
        was_paused = self._paused_until > 0
        if was_paused:
            self._paused_until = now + PAUSE_SECONDS  # this request finds out; the others need not wait with it
        try:
            allowed = ask(rate, kind, name)
            reset_at, remaining = self._limiter.get_window_stats(rate, kind, name)
        except Exception as error:  # what is there may not be Redis, and answer anything
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            metrics.rate_limiter_failures.inc()
            # Its words are left out: they may repeat what was sent, and so the password.
            cause = type(error.storage_error if isinstance(error, StorageError) else error).__name__
            _log.warning("rate limits are not enforced: Redis cannot be used", error=cause)
            return None
        if was_paused:
            self._paused_until = 0.0
            _log.info("rate limits are enforced again")
        return Verdict(is_allowed=allowed, rate=rate, remaining=max(0, remaining), reset_at=math.ceil(reset_at))


def _name_of(client: str) -> str:
    """Return what stands for a client in the store: nobody's name, address or key, and short whatever they are."""
    return hashlib.sha256(client.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def create_limiter(settings: Settings) -> Limiter:
    """Return slowapi's limiter over Redis, or over this process's memory. Connects to nothing yet."""
    # A moving window, because "50/hour" then holds for any hour, not twice that around a boundary.
    if settings.redis_url is None:
        uri, options = f"{limiter_memory.SCHEME}://", {}
    else:
        uri, options = settings.redis_url, {"wrap_exceptions": True, **connection_options()}
    return Limiter(key_func=get_remote_address, strategy="moving-window", storage_uri=uri, storage_options=options)
