"""Who gets a notification, and everybody once."""

from datetime import UTC, datetime

import pytest

from app.delivery import plan
from tests.support.delivery import NOTHING_INLINE, finish_with_a_worker, ledger_adds_up, received, send


def test_topics_users_and_subscriptions_are_a_union_and_a_double_match_gets_one_message(pipeline, subscribe):
    [by_topic] = subscribe(topics=["news", "sport"])
    [by_user] = subscribe(user_id="7", topics=["news"])
    [by_id] = subscribe()
    [nobody] = subscribe(topics=["weather"], user_id="8")

    sent = send(pipeline, topics=["news", "sport"], user_ids=["7"], subscription_ids=[by_id.id])

    assert received([by_topic, by_user, by_id, nobody]) == [1, 1, 1, 0]
    assert sent.notification.targeted == 3


def test_the_disabled_the_deleted_and_the_gone_are_not_in_the_audience(pipeline, subscribe):
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    subscribers = (
        subscribe() + subscribe(enabled=False) + subscribe(deleted_at=long_ago) + subscribe(gone_at=long_ago)
    )

    sent = send(pipeline)

    assert received(subscribers) == [1, 0, 0, 0]
    assert sent.notification.targeted == 1


def test_an_audience_of_nobody_is_sent_at_once(pipeline):
    sent = send(pipeline, topics=["nobody-has-this"])

    assert sent.is_complete
    assert (sent.notification.state, sent.notification.targeted, sent.counts) == ("sent", 0, {})


@pytest.mark.parametrize("count", [3, 4, 5, 8])
def test_page_boundaries_lose_nobody_and_plan_nobody_twice(pipeline, subscribe, monkeypatch, count):
    monkeypatch.setattr(plan, "PAGE_SIZE", 4)
    monkeypatch.setattr(plan, "BATCH_SIZE", 3)
    subscribers = subscribe(count)

    sent = send(pipeline)

    assert received(subscribers) == [1] * count
    assert ledger_adds_up(pipeline.sessions, sent)


def test_a_thousand_subscribers_on_four_push_services_all_get_it_and_the_ledger_adds_up(
    pipeline, push_service, subscribe
):
    subscribers = [
        subscriber
        for service in ("fcm", "mozilla", "apple", "wns")
        for subscriber in subscribe(250, service=service, host="127.0.0.2" if service == "wns" else None)
    ]

    sent = send(pipeline)

    assert sent.counts == {"sent": 1000}
    assert ledger_adds_up(pipeline.sessions, sent)
    assert received(subscribers) == [1] * 1000
    assert push_service.counts.accepted == 1000


def test_who_subscribes_after_a_broadcast_was_accepted_is_not_in_it(pipeline, subscribe):
    [early] = subscribe()
    sent = send(pipeline, limits=NOTHING_INLINE)
    [late] = subscribe()

    finish_with_a_worker(pipeline)

    assert received([early, late]) == [1, 0]
    assert not sent.is_complete
