"""Every sender: a call that is held to a rate."""

import threading
import time

import pytest

from app.push.outcome import Verdict
from app.push.sender import Sender
from app.simulator import Browser, Simulator
from tests.integration.sender_contract.sending import message_to, outcomes_of, subscribed
from tests.support.waiting import DEADLINE_SECONDS, until

# The second message of such a call would be due in a quarter of an hour.
ALMOST_NEVER = 0.001


def test_no_message_is_begun_before_it_is_due(sender: Sender, push_service: Simulator) -> None:
    rate_per_second = 50.0
    messages = [message_to(subscribed(push_service)) for _ in range(20)]
    seen: list[tuple[int, float]] = []
    began_at = time.monotonic()

    verdicts = []
    for pairs in sender.send(messages, rate_per_second=rate_per_second):
        verdicts += [outcome.verdict for _message, outcome in pairs]
        posts = push_service.counts.posts
        seen.append((posts, time.monotonic() - began_at))

    assert verdicts == [Verdict.ACCEPTED] * 20
    assert seen[-1][0] == 20
    assert all(posts <= 1 + seconds * rate_per_second for posts, seconds in seen)


def test_a_rate_that_is_out_of_reach_holds_nothing_up(sender: Sender, push_service: Simulator) -> None:
    messages = [message_to(subscribed(push_service)) for _ in range(50)]

    answered = [pair for pairs in sender.send(messages, rate_per_second=1e9) for pair in pairs]

    assert {outcome.verdict for _message, outcome in answered} == {Verdict.ACCEPTED}
    assert len(answered) == 50


def test_a_call_that_is_held_to_a_rate_holds_up_no_other(sender: Sender, push_service: Simulator) -> None:
    held = sender.send([message_to(subscribed(push_service)) for _ in range(3)], rate_per_second=ALMOST_NEVER)
    first = next(filter(None, held))

    outcomes = outcomes_of(sender, [message_to(subscribed(push_service)) for _ in range(50)])
    held.close()

    assert len(first) == 1
    assert {outcome.verdict for outcome in outcomes} == {Verdict.ACCEPTED}
    assert push_service.counts.posts == 51


def test_a_call_that_waits_for_its_time_ends_when_it_is_stopped(sender: Sender, push_service: Simulator) -> None:
    stopped = threading.Event()
    messages = [message_to(subscribed(push_service)) for _ in range(3)]

    answered = []
    for pairs in sender.send(messages, stop=stopped.is_set, rate_per_second=ALMOST_NEVER):
        answered += pairs
        if answered:
            stopped.set()

    assert len(answered) == push_service.counts.posts == 1


def test_a_call_that_waits_for_its_time_ends_with_the_sender(sender: Sender, push_service: Simulator) -> None:
    answered = []
    messages = [message_to(subscribed(push_service)) for _ in range(3)]

    def send() -> None:
        for pairs in sender.send(messages, rate_per_second=ALMOST_NEVER):
            answered.extend(pairs)

    sending = threading.Thread(target=send)
    sending.start()
    until(lambda: answered, "the first message is answered")
    sender.close()
    sending.join(DEADLINE_SECONDS)

    assert not sending.is_alive()
    assert len(answered) == push_service.counts.posts == 1


def test_the_caller_hears_of_each_message_while_the_next_waits(sender: Sender, browser: Browser) -> None:
    sending = sender.send([message_to(browser), message_to(browser)], rate_per_second=ALMOST_NEVER)

    heard = [next(sending) for _ in range(8)]
    sending.close()

    assert sum(map(len, heard)) == len(browser.posts) == 1


@pytest.mark.parametrize("rate", [0.0, -5.0])
def test_a_rate_that_lets_nothing_through_is_refused(sender: Sender, browser: Browser, rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        next(sender.send([message_to(browser)], rate_per_second=rate))

    assert browser.posts == []
