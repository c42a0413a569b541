"""Dates as clients write them, and the ranges they make."""

from datetime import UTC, date, datetime, timedelta

import pytest

from app.analytics.period import DateRangeInvalid, Period, choose_period, parse_instant
from tests.support.ledger import utc

NOW = utc(2026, 10, 20, 14, 30)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-10-31", utc(2026, 10, 31)),
        ("2024-02-29", utc(2024, 2, 29)),
        ("2026-10-31T08:15:00", utc(2026, 10, 31, 8, 15)),
        ("2026-10-31T08:15:00Z", utc(2026, 10, 31, 8, 15)),
        ("2026-10-31t08:15:00z", utc(2026, 10, 31, 8, 15)),
        ("2026-11-01T00:30:00+02:00", utc(2026, 10, 31, 22, 30)),
        ("2026-10-31T22:30:00-05:00", utc(2026, 11, 1, 3, 30)),
        ("2026-11-01T00:30:00 02:00", utc(2026, 10, 31, 22, 30)),
    ],
)
def test_an_iso_date_or_datetime_is_an_instant_in_utc(written: str, meant: datetime) -> None:
    instant = parse_instant(written)

    assert instant == meant
    assert instant.tzinfo is UTC


@pytest.mark.parametrize(
    "written",
    [
        *("", "yesterday", "2026-02-30", "2026-13-01", "1761868800", "2026-10-31T25:00", "31.10.2026"),
        *("2026-10-31\x00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"),
    ],
)
def test_what_is_no_date_is_refused_with_an_example(written: str) -> None:
    with pytest.raises(ValueError, match="like 2026-10-31 or"):
        parse_instant(written)


def test_the_default_is_thirty_whole_days_with_today_as_the_last() -> None:
    period = choose_period(None, None, now=NOW)

    assert period == Period(utc(2026, 9, 21), utc(2026, 10, 21))
    assert len(period.days()) == 30
    assert period.days()[-1] == NOW.date()


def test_the_default_is_the_same_all_day_so_that_answers_can_be_kept() -> None:
    morning = choose_period(None, None, now=utc(2026, 10, 20))
    evening = choose_period(None, None, now=utc(2026, 10, 20, 23, 59, 59))

    assert morning.key == evening.key


def test_a_single_end_gets_the_other_by_default() -> None:
    assert choose_period(None, utc(2026, 5, 31), now=NOW) == Period(utc(2026, 5, 1), utc(2026, 5, 31))
    assert choose_period(utc(2026, 10, 19), None, now=NOW) == Period(utc(2026, 10, 19), utc(2026, 10, 21))


@pytest.mark.parametrize(
    ("date_from", "date_to"),
    [
        (utc(2026, 10, 2), utc(2026, 10, 1)),
        (utc(2026, 10, 1), utc(2026, 10, 1)),
        (utc(2027, 1, 1), None),  # the default end is tonight
        (utc(2025, 10, 1), utc(2026, 10, 3)),
        (None, utc(1, 1, 15)),
    ],
)
def test_a_range_that_is_empty_reversed_or_too_long_is_refused(
    date_from: datetime | None, date_to: datetime | None
) -> None:
    with pytest.raises(DateRangeInvalid):
        choose_period(date_from, date_to, now=NOW)


def test_a_whole_leap_year_is_a_range() -> None:
    period = choose_period(utc(2024, 1, 1), utc(2025, 1, 1), now=NOW)

    assert len(period.days()) == 366


def test_a_day_counts_as_soon_as_an_instant_of_it_is_in_the_period() -> None:
    instant = timedelta(microseconds=1)

    assert Period(utc(2026, 10, 1, 23), utc(2026, 10, 3)).days() == [date(2026, 10, 1), date(2026, 10, 2)]
    assert Period(utc(2026, 10, 1), utc(2026, 10, 2) + instant).days() == [date(2026, 10, 1), date(2026, 10, 2)]
    assert Period(utc(2026, 10, 1), utc(2026, 10, 1) + instant).days() == [date(2026, 10, 1)]


def test_the_last_day_of_the_calendar_can_be_asked_for() -> None:
    assert Period(utc(9999, 12, 30), utc(9999, 12, 31, 23)).days() == [date(9999, 12, 30), date(9999, 12, 31)]
