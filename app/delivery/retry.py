"""When to try again: as the push service asked, else after a backoff with jitter."""

import random
from datetime import timedelta

FIRST_BACKOFF_SECONDS = 10
LONGEST_BACKOFF_SECONDS = 3600


def delay_before_retry(attempt: int, retry_after_seconds: int | None) -> timedelta:
    """Return how long to wait after this attempt (from 1): Retry-After, or 10 s doubled each time up to an hour.

    A backoff is between half and all of that, so that those who failed together do not come back together.
    """
    if retry_after_seconds is not None:
        return timedelta(seconds=retry_after_seconds)
    longest = min(FIRST_BACKOFF_SECONDS * 2 ** min(attempt - 1, 20), LONGEST_BACKOFF_SECONDS)
    return timedelta(seconds=random.uniform(longest / 2, longest))  # noqa: S311 - jitter, not a secret
