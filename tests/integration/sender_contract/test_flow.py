"""Every sender: how the caller hears of outcomes, and how it stops."""

import threading
import time
from itertools import pairwise
from statistics import median

import pytest

from app.push.outcome import Outcome, Verdict
from app.push.sender import Sender, Timeouts
from app.simulator import Browser, Simulator
from tests.integration.sender_contract.sending import (
    MakeSender,
    end_the_hanging,
    message_to,
    outcomes_of,
    subscribed,
)


def test_several_threads_send_at_once(sender: Sender, push_service: Simulator) -> None:
    groups = [[subscribed(push_service) for _ in range(20)] for _ in range(4)]
    results: list[list[Outcome]] = []

    def send(browsers: list[Browser]) -> None:
        results.append(outcomes_of(sender, [message_to(browser) for browser in browsers]))

    threads = [threading.Thread(target=send, args=(group,)) for group in groups]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {outcome.verdict for outcomes in results for outcome in outcomes} == {Verdict.ACCEPTED}
    assert [len(outcomes) for outcomes in results] == [20] * 4
    assert all(len(browser.posts) == 1 for group in groups for browser in group)


def test_the_caller_hears_something_every_second_while_nothing_arrives(
    make_sender: MakeSender,
    push_service: Simulator,
    browser: Browser,
) -> None:
    sender = make_sender(timeouts=Timeouts(read_seconds=60.0, answer_seconds=60.0))
    push_service.hangs()
    sending = sender.send([message_to(browser)])
    yielded_at = [time.monotonic()]

    for _ in range(5):
        assert next(sending) == []
        yielded_at.append(time.monotonic())
    end_the_hanging(push_service)
    sending.close()

    waits = [later - earlier for earlier, later in pairwise(yielded_at)]
    assert median(waits) <= 1.0  # a busy machine may be late once or twice


def test_nothing_to_send_is_no_outcome(sender: Sender) -> None:
    assert list(sender.send([])) == []


def test_once_stopped_what_is_in_flight_is_still_heard_of_and_nothing_more_is_begun(
    sender: Sender,
    push_service: Simulator,
) -> None:
    push_service.delays(0.05)
    messages = [message_to(subscribed(push_service)) for _ in range(400)]

    # Until the first is answered, no more can be begun than is let in flight at once.
    sending = sender.send(messages, stop=lambda: push_service.counts.posts > 0)
    answered = [pair for pairs in sending for pair in pairs]

    assert 0 < len(answered) < 400
    assert {outcome.verdict for _message, outcome in answered} == {Verdict.ACCEPTED}
    assert len({id(message) for message, _outcome in answered}) == len(answered) == push_service.counts.posts


def test_a_send_that_is_stopped_from_the_start_posts_nothing(sender: Sender, browser: Browser) -> None:
    assert [pair for pairs in sender.send([message_to(browser)], stop=lambda: True) for pair in pairs] == []
    assert browser.posts == []


def test_closing_the_generator_begins_nothing_more(sender: Sender, push_service: Simulator) -> None:
    push_service.answers(201, times=1)
    push_service.hangs()  # what is in flight leaves no room for the rest
    browsers = [subscribed(push_service) for _ in range(400)]
    sending = sender.send([message_to(browser) for browser in browsers])

    next(filter(None, sending))
    sending.close()
    end_the_hanging(push_service)
    outcomes_of(sender, [message_to(subscribed(push_service))] * 400)  # beside which the rest would have its turn

    assert 0 < sum(len(browser.posts) for browser in browsers) < 400


def test_a_closed_sender_sends_no_more(sender: Sender, browser: Browser) -> None:
    sender.close()

    with pytest.raises(RuntimeError):
        list(sender.send([message_to(browser)]))
    assert browser.posts == []


def test_what_was_answered_while_the_sender_was_closing_is_heard_of(
    sender: Sender, push_service: Simulator, browser: Browser
) -> None:
    push_service.delays(2.0)
    sending = sender.send([message_to(browser)])

    answered = next(sending)
    sender.close()
    answered += [pair for pairs in sending for pair in pairs]

    assert [outcome.verdict for _message, outcome in answered] == [Verdict.ACCEPTED]


def test_closing_the_sender_ends_a_send_that_is_under_way(make_sender: MakeSender, push_service: Simulator) -> None:
    sender = make_sender(timeouts=Timeouts(read_seconds=1.0, answer_seconds=1.0))
    push_service.answers(201, times=1)
    push_service.hangs()  # there is room for the next ones when these are given up, each second
    browser = subscribed(push_service)
    messages = [message_to(browser) for _ in range(5000)]
    answered = []

    for pairs in sender.send(messages):
        answered += pairs
        if answered:
            sender.close()

    assert 0 < len(answered) < len(messages)
    assert len({id(message) for message, _outcome in answered}) == len(answered)
