"""The verdict table: what each answer of a push service does to the delivery and to its subscription."""

import pytest

from app.models import DeliveryStatus
from app.push.sender import Timeouts
from tests.support.delivery import send


def test_an_accepted_message_is_sent_and_marks_the_subscription_as_used(pipeline, subscribe):
    [subscriber] = subscribe()

    sent = send(pipeline, title="Grüße", body="日本語 ☕")

    [message] = subscriber.browser.received
    assert message.json()["title"] == "Grüße"
    assert message.json()["body"] == "日本語 ☕"
    assert sent.counts == {"sent": 1}
    assert subscriber.log.response_code == 201
    assert subscriber.log.error_message is None
    assert subscriber.log.sent_at is not None
    assert subscriber.log.delivered_at is None, "a push service's 2xx is not a delivery"
    assert subscriber.row.last_used is not None
    assert subscriber.row.first_accepted_at == subscriber.row.last_used


@pytest.mark.parametrize("status", [404, 410])
def test_a_subscription_that_is_gone_is_disabled_and_kept(pipeline, push_service, subscribe, status):
    [subscriber] = subscribe()
    subscriber.browser.unsubscribe(status=status)

    sent = send(pipeline)

    assert sent.counts == {"expired": 1}
    assert (subscriber.log.reason, subscriber.log.response_code) == ("gone", status)
    assert subscriber.log.error_message
    assert subscriber.row.gone_at is not None
    assert subscriber.row.enabled is False
    assert subscriber.row.deleted_at is None


def test_who_is_gone_is_not_planned_again(pipeline, subscribe):
    [subscriber] = subscribe()
    subscriber.browser.unsubscribe()
    send(pipeline)

    again = send(pipeline)

    assert again.notification.targeted == 0


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_fail_the_delivery_and_lose_nobody(pipeline, push_service, subscribe, status):
    [subscriber] = subscribe()
    push_service.answers(status)

    sent = send(pipeline)

    assert sent.counts == {"failed": 1}
    assert (subscriber.log.reason, subscriber.log.response_code) == ("key_mismatch", status)
    assert subscriber.row.key_mismatch_at is not None
    assert subscriber.row.enabled is True
    assert subscriber.row.gone_at is None


@pytest.mark.parametrize(("status", "reason"), [(400, "bad_request"), (413, "too_large"), (422, "refused")])
def test_a_message_refused_for_good_fails_and_keeps_the_subscription(
    pipeline, push_service, subscribe, status, reason
):
    [subscriber] = subscribe()
    push_service.answers(status, body="what is wrong")

    sent = send(pipeline)

    assert sent.counts == {"failed": 1}
    assert (subscriber.log.reason, subscriber.log.response_code) == (reason, status)
    assert "what is wrong" in subscriber.log.error_message
    assert subscriber.row.enabled is True
    assert subscriber.row.failure_count == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_busy_push_service_keeps_the_delivery_pending_and_the_subscription(
    pipeline, push_service, subscribe, status
):
    [subscriber] = subscribe()
    push_service.answers(status, retry_after=120)

    sent = send(pipeline)

    assert sent.counts == {"pending": 1}
    assert sent.notification.state == "sending"
    assert subscriber.log.response_code == status
    assert subscriber.log.attempts == 1
    assert subscriber.row.enabled is True


def test_wns_says_406_to_slow_us_down(pipeline, push_service, subscribe):
    [subscriber] = subscribe(service="wns")
    push_service.answers(406, retry_after=120)

    sent = send(pipeline)

    assert sent.counts == {"pending": 1}
    assert subscriber.row.enabled is True


def test_a_broken_connection_keeps_the_delivery_pending(pipeline, push_service, subscribe):
    [subscriber] = subscribe()
    push_service.drops_connection()

    sent = send(pipeline)

    assert sent.counts == {"pending": 1}
    assert subscriber.log.response_code is None
    assert subscriber.log.reason == "connection_broken"


@pytest.mark.parametrize("push_timeouts", [Timeouts(read_seconds=0.5)], ids=["after half a second"])
def test_a_push_service_that_does_not_answer_keeps_the_delivery_pending(
    pipeline, push_service, subscribe, push_timeouts
):
    [subscriber] = subscribe()
    push_service.hangs()

    sent = send(pipeline)

    assert sent.counts == {"pending": 1}
    assert subscriber.log.reason == "timeout"


def test_an_untrusted_certificate_gets_no_message_and_costs_no_subscription(pipeline, push_service, subscribe):
    [subscriber] = subscribe()
    push_service.presents_certificate("untrusted")

    sent = send(pipeline)

    assert sent.counts == {"pending": 1}
    assert subscriber.log.reason == "tls_refused"
    assert subscriber.row.enabled is True
    assert subscriber.browser.posts == []


def test_one_bad_recipient_does_not_stop_the_others(pipeline, push_service, subscribe):
    first, bad, last = subscribe(3)
    push_service.answers(500, browser=bad.browser)

    sent = send(pipeline)

    assert sent.counts == {"sent": 2, "pending": 1}
    assert [len(each.browser.received) for each in (first, last)] == [1, 1]


def test_a_retry_that_would_come_too_late_expires_at_once(pipeline, push_service, subscribe):
    [subscriber] = subscribe()
    push_service.answers(503, retry_after=7200)

    sent = send(pipeline, ttl=3600)

    assert sent.counts == {"expired": 1}
    assert (subscriber.log.status, subscriber.log.reason) == (DeliveryStatus.EXPIRED, "deadline")
    assert sent.notification.state == "sent"


def test_an_accepted_message_clears_earlier_failures(pipeline, push_service, subscribe):
    [subscriber] = subscribe()
    push_service.answers(403, times=1)
    send(pipeline)

    send(pipeline)

    assert subscriber.row.failure_count == 0
    assert subscriber.row.key_mismatch_at is None
