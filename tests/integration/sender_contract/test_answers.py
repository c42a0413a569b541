"""Every sender: what a push service answers becomes an outcome."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.push.keys import VapidKey
from app.push.outcome import Reason, Verdict
from app.push.sender import Sender
from app.simulator import Browser, Simulator
from tests.integration.sender_contract.sending import SERVICES, message_to, outcome_of, subscribed


@pytest.mark.parametrize(
    ("status", "verdict", "reason"),
    [
        (200, Verdict.ACCEPTED, Reason.ACCEPTED),
        (202, Verdict.ACCEPTED, Reason.ACCEPTED),
        (400, Verdict.REJECTED, Reason.BAD_REQUEST),
        (401, Verdict.KEY_MISMATCH, Reason.KEY_MISMATCH),
        (403, Verdict.KEY_MISMATCH, Reason.KEY_MISMATCH),
        (404, Verdict.GONE, Reason.GONE),
        (410, Verdict.GONE, Reason.GONE),
        (413, Verdict.TOO_LARGE, Reason.TOO_LARGE),
        (418, Verdict.REJECTED, Reason.REFUSED),
        (408, Verdict.RETRY, Reason.TIMEOUT),
        (429, Verdict.RETRY, Reason.RATE_LIMITED),
        (500, Verdict.RETRY, Reason.PUSH_SERVICE_ERROR),
        (503, Verdict.RETRY, Reason.PUSH_SERVICE_ERROR),
    ],
)
def test_every_answer_is_an_outcome(
    sender: Sender,
    push_service: Simulator,
    browser: Browser,
    status: int,
    verdict: Verdict,
    reason: Reason,
) -> None:
    push_service.answers(status, body="because")

    outcome = outcome_of(sender, message_to(browser))

    assert (outcome.verdict, outcome.reason, outcome.status_code) == (verdict, reason, status)
    assert outcome.detail == ("" if verdict is Verdict.ACCEPTED else "because")
    assert len(browser.posts) == 1


def test_wns_asks_for_patience_with_406(sender: Sender, push_service: Simulator) -> None:
    browser = subscribed(push_service, "wns")
    push_service.answers(406, retry_after=30)

    outcome = outcome_of(sender, message_to(browser))

    assert (outcome.verdict, outcome.retry_after_seconds) == (Verdict.RETRY, 30)


@pytest.mark.parametrize("is_a_date", [False, True], ids=["seconds", "date"])
def test_the_push_services_wish_to_wait_is_passed_on(
    sender: Sender,
    push_service: Simulator,
    browser: Browser,
    is_a_date: bool,
) -> None:
    push_service.answers(429, retry_after=datetime.now(UTC) + timedelta(seconds=120) if is_a_date else "120")

    outcome = outcome_of(sender, message_to(browser))

    assert outcome.verdict is Verdict.RETRY
    assert outcome.retry_after_seconds is not None
    assert 60 <= outcome.retry_after_seconds <= 120


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("service", SERVICES)
def test_a_browser_that_has_unsubscribed_is_gone(
    sender: Sender,
    push_service: Simulator,
    service: str,
    status: Any,
) -> None:
    browser = subscribed(push_service, service)
    browser.unsubscribe(status=status)

    outcome = outcome_of(sender, message_to(browser))

    assert (outcome.verdict, outcome.status_code) == (Verdict.GONE, status)


@pytest.mark.parametrize("service", SERVICES)
def test_another_key_than_the_subscriptions_is_a_key_mismatch_everywhere(
    sender: Sender,
    push_service: Simulator,
    service: str,
) -> None:
    browser = subscribed(push_service, service, key=VapidKey.generate())

    outcome = outcome_of(sender, message_to(browser))

    assert outcome.verdict is Verdict.KEY_MISMATCH
    assert browser.received == []


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(301, Verdict.REJECTED), (302, Verdict.RETRY), (307, Verdict.RETRY), (308, Verdict.REJECTED)],
)
def test_a_redirect_is_not_followed(
    sender: Sender,
    push_service: Simulator,
    browser: Browser,
    status: int,
    verdict: Verdict,
) -> None:
    elsewhere = subscribed(push_service)
    push_service.redirects_to(elsewhere.endpoint, status=status, browser=browser)

    outcome = outcome_of(sender, message_to(browser))

    assert (outcome.verdict, outcome.reason) == (verdict, Reason.REDIRECT_REFUSED)
    assert elsewhere.posts == []


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(201, Verdict.ACCEPTED), (302, Verdict.RETRY), (410, Verdict.GONE), (500, Verdict.RETRY)],
)
def test_an_endless_answer_is_cut_and_its_status_counts(
    sender: Sender,
    push_service: Simulator,
    browser: Browser,
    status: int,
    verdict: Verdict,
) -> None:
    push_service.endless_body(status=status)

    outcome = outcome_of(sender, message_to(browser))

    assert (outcome.verdict, outcome.status_code) == (verdict, status)
    assert len(outcome.detail) <= 200


def test_an_answer_that_is_not_http_is_tried_again_later(
    sender: Sender,
    push_service: Simulator,
    browser: Browser,
) -> None:
    push_service.garbage()

    outcome = outcome_of(sender, message_to(browser))

    assert (outcome.verdict, outcome.reason) == (Verdict.RETRY, Reason.BAD_ANSWER)


def test_the_time_to_the_answer_is_told_and_only_when_there_is_one(
    sender: Sender, push_service: Simulator, browser: Browser
) -> None:
    push_service.delays(0.1, times=1)
    answered = outcome_of(sender, message_to(browser))
    push_service.drops_connection()
    unanswered = outcome_of(sender, message_to(browser))

    assert answered.seconds is not None
    assert 0.1 <= answered.seconds < 10
    assert unanswered.seconds is None
