"""The audience as it is, and who came and left in a range."""

from datetime import date, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from app.analytics.period import Period
from app.analytics.schemas import SubscriptionStatistics
from app.analytics.service import MAX_TOPICS, subscription_statistics
from app.models import DEFAULT_TENANT_ID
from tests.support.ledger import FCM, MOZILLA, add_subscription, add_tenant, utc

OCTOBER = Period(utc(2026, 10, 1), utc(2026, 11, 1))
NOON = utc(2026, 10, 15, 12)
LONG_AGO = utc(2025, 1, 1)


def statistics(session: Session, period: Period = OCTOBER, **options: Any) -> SubscriptionStatistics:
    asked: dict[str, Any] = {"tenant_id": DEFAULT_TENANT_ID, "now": NOON} | options
    return subscription_statistics(session, period=period, **asked)


def test_an_empty_audience_has_every_day(session: Session) -> None:
    answer = statistics(session)

    assert (answer.total, answer.active, answer.disabled, answer.new, answer.gone, answer.deleted) == (0,) * 6
    assert [row.day for row in answer.by_day] == [date(2026, 10, day) for day in range(1, 32)]
    assert not answer.by_topic
    assert not answer.by_push_service
    assert answer.topic_count == 0


def test_the_audience_is_counted_as_it_is_now_whatever_the_range(session: Session) -> None:
    add_subscription(session, created_at=LONG_AGO)
    add_subscription(session, created_at=LONG_AGO, enabled=False)
    add_subscription(session, created_at=LONG_AGO, gone_at=LONG_AGO)
    add_subscription(session, created_at=LONG_AGO, deleted_at=LONG_AGO)

    answer = statistics(session)

    assert (answer.total, answer.active, answer.disabled) == (3, 1, 2)
    assert (answer.new, answer.gone, answer.deleted) == (0, 0, 0)


def test_who_came_and_left_is_counted_on_its_day(session: Session) -> None:
    add_subscription(session, created_at=utc(2026, 10, 3, 8))
    add_subscription(session, created_at=utc(2026, 10, 3, 9), deleted_at=utc(2026, 10, 5))
    add_subscription(session, created_at=LONG_AGO, gone_at=utc(2026, 10, 5, 23, 59))

    answer = statistics(session)

    assert (answer.new, answer.gone, answer.deleted) == (2, 1, 1)
    assert {
        row.day: (row.new, row.gone, row.deleted) for row in answer.by_day if row.new or row.gone or row.deleted
    } == {
        date(2026, 10, 3): (2, 0, 0),
        date(2026, 10, 5): (0, 1, 1),
    }


def test_the_range_is_half_open(session: Session) -> None:
    instant = timedelta(microseconds=1)
    for moment in (OCTOBER.start - instant, OCTOBER.start, OCTOBER.end - instant, OCTOBER.end):
        add_subscription(session, created_at=moment)

    answer = statistics(session)

    assert (answer.total, answer.new) == (4, 2)
    assert (answer.by_day[0].new, answer.by_day[-1].new) == (1, 1)


def test_a_subscription_counts_under_each_of_its_topics(session: Session) -> None:
    add_subscription(session, created_at=LONG_AGO, topics=["blog", "news"])
    add_subscription(session, created_at=LONG_AGO, topics=["blog"], enabled=False)
    add_subscription(session, created_at=LONG_AGO, topics=["news"])
    add_subscription(session, created_at=LONG_AGO, topics=["old"], deleted_at=NOON)
    add_subscription(session, created_at=LONG_AGO)

    answer = statistics(session)

    assert [(row.topic, row.total, row.active, row.disabled) for row in answer.by_topic] == [
        ("news", 2, 2, 0),
        ("blog", 2, 1, 1),
    ]
    assert answer.topic_count == 2


def test_the_largest_topics_are_listed_and_all_are_counted(session: Session) -> None:
    many = [f"topic {number}" for number in range(MAX_TOPICS + 20)]
    add_subscription(session, created_at=LONG_AGO, topics=many)
    add_subscription(session, created_at=LONG_AGO, topics=many[-1:])

    answer = statistics(session)

    assert len(answer.by_topic) == MAX_TOPICS
    assert answer.by_topic[0].topic == many[-1]
    assert answer.topic_count == MAX_TOPICS + 20


def test_each_push_service_has_its_state_and_its_changes(session: Session) -> None:
    add_subscription(session, created_at=NOON, host=FCM)
    add_subscription(session, created_at=LONG_AGO, host=FCM, enabled=False)
    add_subscription(session, created_at=LONG_AGO, host=MOZILLA, deleted_at=NOON)

    answer = statistics(session)

    assert [
        (row.push_service, row.total, row.active, row.disabled, row.new, row.deleted)
        for row in answer.by_push_service
    ] == [(FCM, 2, 1, 1, 1, 0), (MOZILLA, 0, 0, 0, 0, 1)]


def test_days_are_utc_whatever_the_database_session_says(session: Session) -> None:
    session.connection().exec_driver_sql("SET LOCAL timezone TO 'Pacific/Kiritimati'")  # UTC+14
    add_subscription(session, created_at=utc(2026, 10, 15, 23, 30))

    assert [row.day for row in statistics(session).by_day if row.new] == [date(2026, 10, 15)]


def test_tenants_do_not_see_each_other(session: Session) -> None:
    other = add_tenant(session, "other")
    add_subscription(session, created_at=NOON, topics=["blog"])
    add_subscription(
        session, other, created_at=NOON, topics=["secret"], gone_at=NOON, deleted_at=NOON, host=MOZILLA
    )

    ours = statistics(session)
    theirs = statistics(session, tenant_id=other)

    assert (ours.total, ours.new, ours.gone, ours.deleted) == (1, 1, 0, 0)
    assert (theirs.total, theirs.new, theirs.gone, theirs.deleted) == (0, 1, 1, 1)
    assert [row.topic for row in ours.by_topic] == ["blog"]
    assert theirs.by_topic == []


moments = st.datetimes(utc(2026, 9, 25).replace(tzinfo=None), utc(2026, 11, 5).replace(tzinfo=None)).map(
    lambda moment: moment.replace(tzinfo=OCTOBER.start.tzinfo)
)
audiences = st.lists(
    st.fixed_dictionaries(
        {
            "created_at": moments,
            "gone_at": st.none() | moments,
            "deleted_at": st.none() | moments,
            "enabled": st.booleans(),
            "host": st.sampled_from([FCM, MOZILLA]),
            "topics": st.lists(st.sampled_from(["blog", "news"]), unique=True),
        }
    ),
    max_size=12,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(audience=audiences)
def test_every_breakdown_adds_up_to_the_whole(session: Session, audience: list[dict[str, Any]]) -> None:
    for entry in audience:
        add_subscription(session, **entry)

    answer = statistics(session)
    session.rollback()

    assert answer.total == sum(entry["deleted_at"] is None for entry in audience)
    assert answer.total == answer.active + answer.disabled
    for figure, field in (("new", "created_at"), ("gone", "gone_at"), ("deleted", "deleted_at")):
        expected = sum(bool(entry[field] and OCTOBER.start <= entry[field] < OCTOBER.end) for entry in audience)
        assert getattr(answer, figure) == expected
        assert sum(getattr(row, figure) for row in answer.by_day) == expected
        assert sum(getattr(row, figure) for row in answer.by_push_service) == expected
    for figure in ("total", "active", "disabled"):
        assert sum(getattr(row, figure) for row in answer.by_push_service) == getattr(answer, figure)
    assert SubscriptionStatistics.model_validate_json(answer.model_dump_json()) == answer
