"""Every sender: when the wire or the push service fails, nobody is lost and nobody is blamed."""

import pytest

from app.push.outcome import Reason, Verdict
from app.push.sender import Sender, Timeouts
from app.simulator import Browser, Simulator
from tests.integration.sender_contract.sending import MakeSender, message_to, outcome_of, outcomes_of, subscribed


def test_silence_is_a_timeout(make_sender: MakeSender, push_service: Simulator, browser: Browser) -> None:
    impatient_sender = make_sender(timeouts=Timeouts(read_seconds=0.3, answer_seconds=0.5))
    push_service.hangs()

    outcome = outcome_of(impatient_sender, message_to(browser))

    assert (outcome.verdict, outcome.reason, outcome.status_code) == (Verdict.RETRY, Reason.TIMEOUT, None)


def test_a_slow_answer_is_waited_for(sender: Sender, push_service: Simulator, browser: Browser) -> None:
    push_service.delays(0.1)

    assert outcome_of(sender, message_to(browser)).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("before_body", [True, False])
def test_a_connection_that_breaks_is_tried_again_later(
    sender: Sender,
    push_service: Simulator,
    browser: Browser,
    before_body: bool,
) -> None:
    push_service.drops_connection(before_body=before_body)

    outcome = outcome_of(sender, message_to(browser))

    assert (outcome.verdict, outcome.reason) == (Verdict.RETRY, Reason.CONNECTION_BROKEN)


def test_a_kept_connection_that_was_closed_costs_nothing(
    sender: Sender,
    push_service: Simulator,
    browser: Browser,
) -> None:
    first = outcome_of(sender, message_to(browser, b"one"))
    push_service.drop_connections()
    second = outcome_of(sender, message_to(browser, b"two"))

    assert [first.verdict, second.verdict] == [Verdict.ACCEPTED] * 2
    assert [message.plaintext for message in browser.received] == [b"one", b"two"]


def test_a_push_service_that_closes_connections_now_and_then_loses_and_repeats_nothing(
    sender: Sender,
    push_service: Simulator,
) -> None:
    push_service.sends_goaway(every=3)
    browsers = [subscribed(push_service) for _ in range(60)]

    outcomes = outcomes_of(sender, [message_to(browser) for browser in browsers])

    assert {outcome.verdict for outcome in outcomes} == {Verdict.ACCEPTED}
    assert [len(browser.posts) for browser in browsers] == [1] * 60


def test_a_push_service_that_is_down_is_tried_again_later(
    sender: Sender,
    push_service: Simulator,
    browser: Browser,
) -> None:
    push_service.stop_listening()

    outcome = outcome_of(sender, message_to(browser))

    assert (outcome.verdict, outcome.reason) == (Verdict.RETRY, Reason.CONNECTION_FAILED)


@pytest.mark.parametrize("certificate", ["expired", "untrusted", "wrong_name"])
def test_a_certificate_that_is_refused_is_never_the_subscriptions_fault(
    sender: Sender,
    push_service: Simulator,
    browser: Browser,
    certificate: str,
) -> None:
    push_service.presents_certificate(certificate)

    outcome = outcome_of(sender, message_to(browser))

    assert (outcome.verdict, outcome.reason) == (Verdict.RETRY, Reason.TLS_REFUSED)
    assert browser.posts == []
