"""When to try again: what a push service put off, and work that we could not do ourselves."""

import random
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func
from sqlalchemy.orm import InstrumentedAttribute

FIRST_BACKOFF_SECONDS = 10
LONGEST_BACKOFF_SECONDS = 3600
LONGEST_OVERRULING_SECONDS = 300


def delay_before_retry(attempt: int, retry_after_seconds: int | None) -> timedelta:
    """Return how long to wait after this attempt (from 1): as the push service asked, else 10 s, doubled each time.

    A backoff ends at an hour, and is between half and all of that, so that those who failed together do not come
    back together. A wish is followed to the second, but from the second attempt on not below a wait that doubles up
    to five minutes: "at once", said every time, must not spin us until the deadline.
    """
    doublings = min(attempt - 1, 20)
    if retry_after_seconds is not None:
        shortest = min(2**doublings, LONGEST_OVERRULING_SECONDS) if attempt > 1 else 0
        return timedelta(seconds=max(retry_after_seconds, shortest))
    longest = min(FIRST_BACKOFF_SECONDS * 2**doublings, LONGEST_BACKOFF_SECONDS)
    return timedelta(seconds=random.uniform(longest / 2, longest))  # nosec B311  # noqa: S311 - jitter, not a secret


def when_put_off(since: InstrumentedAttribute[datetime]) -> ColumnElement[datetime]:
    """Return the time until which a row waits that could not be worked on, in SQL.

    It waits as long again as it has since `since`, from 10 s to an hour: what can never be done gets rarer, and
    whatever the number of such rows, the others have their turn in between.
    """
    has_waited = func.now() - since
    longest, first = timedelta(seconds=LONGEST_BACKOFF_SECONDS), timedelta(seconds=FIRST_BACKOFF_SECONDS)
    return func.now() + func.least(longest, func.greatest(first, has_waited))
