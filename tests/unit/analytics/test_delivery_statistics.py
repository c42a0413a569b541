"""What became of deliveries: counts that add up, and rates."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.analytics.period import Period
from app.analytics.schemas import DeliveryCounts, DeliveryStatistics
from app.analytics.service import delivery_statistics
from app.models import DEFAULT_TENANT_ID, DeliveryBatch, DeliveryStatus
from tests.support.ledger import FCM, MOZILLA, add_deliveries, add_tenant, utc

OCTOBER = Period(utc(2026, 10, 1), utc(2026, 11, 1))
NOON = utc(2026, 10, 15, 12)


def statistics(session: Session, period: Period = OCTOBER, **options: Any) -> DeliveryStatistics:
    asked: dict[str, Any] = {"tenant_id": DEFAULT_TENANT_ID, "notification_type": None, "now": NOON} | options
    return delivery_statistics(session, period=period, **asked)


def counts_of(row: DeliveryCounts) -> dict[str, int]:
    return {status: getattr(row, status) for status in DeliveryStatus if getattr(row, status)}


def test_an_empty_ledger_has_every_day_and_no_rates(session: Session) -> None:
    answer = statistics(session)

    assert answer.total == 0
    assert answer.acceptance_rate is None
    assert answer.delivery_rate is None
    assert [row.day for row in answer.by_day] == [date(2026, 10, day) for day in range(1, 32)]
    assert not any((answer.by_type, answer.by_push_service, answer.by_reason))


def test_rates_leave_out_what_is_not_decided(session: Session) -> None:
    add_deliveries(
        session,
        planned_at=NOON,
        counts={"pending": 90, "sent": 6, "delivered": 2, "failed": 1, "expired": 1},
        reason="gone",
    )

    answer = statistics(session)

    assert counts_of(answer) == {"pending": 90, "sent": 6, "delivered": 2, "failed": 1, "expired": 1}
    assert answer.total == 100
    assert answer.acceptance_rate == 8 / 10
    assert answer.delivery_rate == 2 / 8


def test_when_all_is_pending_there_is_no_rate_yet(session: Session) -> None:
    add_deliveries(session, planned_at=NOON, counts={"pending": 3})

    answer = statistics(session)

    assert (answer.total, answer.acceptance_rate, answer.delivery_rate) == (3, None, None)


def test_when_nothing_was_accepted_the_delivery_rate_is_null_and_not_zero(session: Session) -> None:
    add_deliveries(session, planned_at=NOON, counts={"failed": 3}, reason="too-large")

    answer = statistics(session)

    assert answer.acceptance_rate == 0
    assert answer.delivery_rate is None


def test_each_type_and_push_service_has_its_own_counts_and_rates(session: Session) -> None:
    add_deliveries(session, planned_at=NOON, counts={"sent": 3, "failed": 1}, type="blog", host=FCM)
    add_deliveries(session, planned_at=NOON, counts={"delivered": 2}, type="blog", host=MOZILLA)
    add_deliveries(session, planned_at=NOON, counts={"expired": 1}, type="order", host=MOZILLA)

    answer = statistics(session)

    assert [(row.type, counts_of(row), row.acceptance_rate) for row in answer.by_type] == [
        ("blog", {"sent": 3, "delivered": 2, "failed": 1}, 5 / 6),
        ("order", {"expired": 1}, 0),
    ]
    assert [(row.push_service, counts_of(row), row.delivery_rate) for row in answer.by_push_service] == [
        (FCM, {"sent": 3, "failed": 1}, 0),
        (MOZILLA, {"delivered": 2, "expired": 1}, 1),
    ]


def test_the_type_filter_narrows_every_figure(session: Session) -> None:
    add_deliveries(session, planned_at=NOON, counts={"sent": 3}, type="blog")
    add_deliveries(session, planned_at=NOON, counts={"failed": 5}, type="order", reason="too-large")

    answer = statistics(session, notification_type="blog")

    assert answer.type == "blog"
    assert counts_of(answer) == {"sent": 3}
    assert [row.type for row in answer.by_type] == ["blog"]
    assert answer.by_reason == []
    assert statistics(session, notification_type="never sent").total == 0


def test_reasons_explain_what_failed_and_what_expired(session: Session) -> None:
    add_deliveries(session, planned_at=NOON, counts={"expired": 4}, reason="gone")
    add_deliveries(session, planned_at=NOON, counts={"expired": 1, "failed": 2}, reason="deadline")
    add_deliveries(session, planned_at=NOON, counts={"failed": 3, "sent": 1}, reason=None)

    answer = statistics(session)

    assert [(row.status, row.reason, row.count) for row in answer.by_reason] == [
        ("expired", "gone", 4),
        ("failed", "unknown", 3),
        ("failed", "deadline", 2),
        ("expired", "deadline", 1),
    ]


def test_the_range_is_half_open(session: Session) -> None:
    instant = timedelta(microseconds=1)
    add_deliveries(session, planned_at=OCTOBER.start - instant, counts={"failed": 1})
    add_deliveries(session, planned_at=OCTOBER.start, counts={"sent": 1})
    add_deliveries(session, planned_at=OCTOBER.end - instant, counts={"sent": 10})
    add_deliveries(session, planned_at=OCTOBER.end, counts={"failed": 100})

    answer = statistics(session)

    assert counts_of(answer) == {"sent": 11}
    assert (answer.by_day[0].total, answer.by_day[-1].total) == (1, 10)


def test_neighbouring_ranges_share_nothing_and_lose_nothing(session: Session) -> None:
    middle = utc(2026, 10, 15, 13, 30)
    for minutes in range(-60, 61, 20):
        add_deliveries(session, planned_at=middle + timedelta(minutes=minutes), counts={"sent": 1})

    before = statistics(session, Period(OCTOBER.start, middle))
    after = statistics(session, Period(middle, OCTOBER.end))

    assert (before.total, after.total) == (3, 4)
    assert (before.by_day[-1].day, after.by_day[0].day) == (date(2026, 10, 15), date(2026, 10, 15))


def test_a_range_may_span_months_and_partitions_that_do_not_exist(session: Session) -> None:
    add_deliveries(session, planned_at=utc(2025, 12, 31, 23, 59, 59), counts={"sent": 1})
    add_deliveries(session, planned_at=utc(2026, 1, 1), counts={"sent": 2})
    add_deliveries(session, planned_at=utc(2026, 3, 1), counts={"sent": 4})

    answer = statistics(session, Period(utc(2025, 11, 1), utc(2026, 3, 2)))

    assert {row.day: row.total for row in answer.by_day if row.total} == {
        date(2025, 12, 31): 1,
        date(2026, 1, 1): 2,
        date(2026, 3, 1): 4,
    }


def test_days_are_utc_whatever_the_database_session_says(session: Session) -> None:
    session.connection().exec_driver_sql("SET LOCAL timezone TO 'Pacific/Kiritimati'")  # UTC+14
    add_deliveries(session, planned_at=utc(2026, 10, 15, 23, 30), counts={"sent": 1})

    answer = statistics(session)

    assert [row.day for row in answer.by_day if row.total] == [date(2026, 10, 15)]


def test_tenants_do_not_see_each_other(session: Session) -> None:
    other = add_tenant(session, "other")
    add_deliveries(session, planned_at=NOON, counts={"sent": 1})
    add_deliveries(
        session, other, planned_at=NOON, counts={"failed": 2}, type="secret", host=MOZILLA, reason="gone"
    )

    ours = statistics(session)
    theirs = statistics(session, tenant_id=other)

    assert counts_of(ours) == {"sent": 1}
    assert counts_of(theirs) == {"failed": 2}
    assert [row.type for row in ours.by_type] == ["general"]
    assert statistics(session, notification_type="secret").total == 0


def test_a_broadcast_of_many_batches_is_counted_whole(session: Session) -> None:
    add_deliveries(session, planned_at=NOON, counts={"sent": 1201, "failed": 2})

    assert counts_of(statistics(session)) == {"sent": 1201, "failed": 2}


def test_deliveries_outlive_their_batches(session: Session) -> None:
    add_deliveries(session, planned_at=NOON, counts={"sent": 2})
    session.execute(delete(DeliveryBatch))

    answer = statistics(session)

    assert [(row.push_service, row.total) for row in answer.by_push_service] == [("unknown", 2)]


ledgers = st.lists(
    st.fixed_dictionaries(
        {
            "planned_at": st.datetimes(
                utc(2026, 9, 29).replace(tzinfo=None), utc(2026, 11, 3).replace(tzinfo=None)
            ),
            "counts": st.dictionaries(st.sampled_from(list(DeliveryStatus)), st.integers(1, 3), min_size=1),
            "type": st.sampled_from(["blog", "order", ""]),
            "host": st.sampled_from([FCM, MOZILLA, "127.0.0.1:8003"]),
            "reason": st.sampled_from([None, "gone", "deadline", "too-large"]),
        }
    ),
    max_size=8,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(ledger=ledgers)
def test_every_breakdown_adds_up_to_the_whole(session: Session, ledger: list[dict[str, Any]]) -> None:
    expected = dict.fromkeys(DeliveryStatus, 0)
    for entry in ledger:
        planned_at = entry.pop("planned_at").replace(tzinfo=OCTOBER.start.tzinfo)
        add_deliveries(session, planned_at=planned_at, **entry)
        if OCTOBER.start <= planned_at < OCTOBER.end:
            for status, count in entry["counts"].items():
                expected[status] += count

    answer = statistics(session)
    session.rollback()

    assert {status: getattr(answer, status) for status in DeliveryStatus} == expected
    assert answer.total == sum(expected.values())
    for breakdown in (answer.by_day, answer.by_type, answer.by_push_service):
        for status in DeliveryStatus:
            assert sum(getattr(row, status) for row in breakdown) == expected[status]
    for status in (DeliveryStatus.FAILED, DeliveryStatus.EXPIRED):
        assert sum(row.count for row in answer.by_reason if row.status == status) == expected[status]
    for row in (answer, *answer.by_day, *answer.by_type, *answer.by_push_service):
        for rate in (row.acceptance_rate, row.delivery_rate):
            assert rate is None or 0 <= rate <= 1


@pytest.mark.parametrize("notification_type", [None, "blog"])
def test_a_kept_answer_reads_back_as_it_was(session: Session, notification_type: str | None) -> None:
    add_deliveries(session, planned_at=NOON, counts={"sent": 3, "failed": 1}, type="blog", reason="gone")

    answer = statistics(session, notification_type=notification_type)

    assert DeliveryStatistics.model_validate_json(answer.model_dump_json()) == answer
