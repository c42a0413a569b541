"""The range of time that statistics are about: half-open, in UTC."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from app.errors import Invalid

DEFAULT_DAYS = 30
MAX_DAYS = 366  # one row of each answer per day


class DateRangeInvalid(Invalid):
    """The dates leave no range that we would count."""

    code = "date-range-invalid"
    title = "The date range is not valid"


@dataclass(frozen=True)
class Period:
    """From `start`, included, to `end`, excluded; both in UTC."""

    start: datetime
    end: datetime

    @property
    def key(self) -> str:
        """Return a text that is the same for equal periods only."""
        return f"{self.start.isoformat()}/{self.end.isoformat()}"

    def days(self) -> list[date]:
        """Return every UTC day that has a part in the period, in order."""
        first = self.start.date()
        last = (self.end - timedelta(microseconds=1)).date()
        return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


def parse_instant(value: str) -> datetime:
    """Return the instant in UTC that an ISO 8601 date or date-time names.

    A date is its midnight; without an offset, the time is UTC's. Raises ValueError for anything else.
    """
    if "T" in value.upper():
        value = value.upper().replace(" ", "+")  # how an unescaped + of an offset arrives in a query
    try:
        instant = datetime.fromisoformat(value)
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            "must be an existing ISO 8601 date or date-time, like 2026-10-31 or 2026-10-31T08:00:00Z"
        ) from None


def choose_period(date_from: datetime | None, date_to: datetime | None, *, now: datetime) -> Period:
    """Return the period asked for; by default, the 30 whole days that end with today.

    Raises DateRangeInvalid when it is empty, reversed or longer than 366 days.
    """
    end = date_to or _end_of_day(now)
    try:
        start = date_from or end - timedelta(days=DEFAULT_DAYS)
    except OverflowError:
        raise DateRangeInvalid("date_to is too early. Give date_from as well.") from None
    if start >= end:
        raise DateRangeInvalid(
            f"date_from ({start.isoformat()}) must be before date_to ({end.isoformat()}), which is excluded:"
            " for one whole day, give the next day as date_to."
        )
    if end - start > timedelta(days=MAX_DAYS):
        raise DateRangeInvalid(f"The range is longer than {MAX_DAYS} days. Ask for a part of it.")
    return Period(start, end)


def _end_of_day(now: datetime) -> datetime:
    return datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(), tzinfo=UTC)
