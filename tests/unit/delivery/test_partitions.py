from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import text

from app.db.session import transaction
from app.delivery.partitions import coming_months, ensure_partitions
from tests.support.delivery import is_somebody_waiting
from tests.support.waiting import until


def partitions(session):
    return set(
        session.scalars(
            text(
                "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'push_delivery_logs'::regclass"
            )
        )
    )


def test_each_month_gets_one_partition_however_often_it_is_asked_for(sessions):
    december = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
    with transaction(sessions) as session:
        before = partitions(session)
        ensure_partitions(session, december, december + timedelta(minutes=2))
        ensure_partitions(session, december)

        assert partitions(session) - before == {"push_delivery_logs_2026_12", "push_delivery_logs_2027_01"}


def test_months_go_by_utc(sessions):
    just_february_in_utc = datetime(2028, 1, 31, 23, 0, tzinfo=timezone(timedelta(hours=-5)))
    with transaction(sessions) as session:
        before = partitions(session)

        ensure_partitions(session, just_february_in_utc)

        assert partitions(session) - before == {"push_delivery_logs_2028_02"}


def test_who_waited_while_another_made_the_partition_finds_it(sessions):
    may = datetime(2028, 5, 1, tzinfo=UTC)

    def ensure():
        with transaction(sessions) as session:
            ensure_partitions(session, may)

    with ThreadPoolExecutor(1) as thread, transaction(sessions) as session:
        ensure_partitions(session, may)
        waiting = thread.submit(ensure)
        until(lambda: is_somebody_waiting(sessions))
        session.commit()

        waiting.result()


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (datetime(2026, 11, 30, tzinfo=UTC), ["2026-11", "2026-12", "2027-01"]),
        (datetime(2026, 1, 31, tzinfo=UTC), ["2026-01", "2026-02", "2026-03"]),
    ],
)
def test_coming_months_cross_the_year(now, expected):
    assert [f"{month:%Y-%m}" for month in coming_months(now)] == expected
