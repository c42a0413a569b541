"""Rate limits of routes: counted per API key, else user, else address."""

import math
import time
from collections.abc import Callable
from functools import lru_cache

from fastapi import Request

from app.errors import RateLimited
from app.web.auth import CallerDep
from app.web.limiter import LimitKind, RateLimits


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
