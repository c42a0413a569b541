"""Every sender: many messages at once, while connections come, go and break."""

import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from app.push.message import MAX_PLAINTEXT_BYTES, PushMessage
from app.push.outcome import Outcome, Reason, Verdict
from app.push.sender import Sender, Timeouts
from app.simulator import Authority, Simulator
from tests.integration.sender_contract.sending import (
    MakeSender,
    end_the_hanging,
    message_to,
    outcomes_of,
    subscribed,
)

pytestmark = pytest.mark.usefixtures("push_ca_file")


@pytest.fixture(
    params=[
        {"max_concurrent_streams": 1},
        {"max_concurrent_streams": 10},
        {"protocols": ("http/1.1",)},
    ],
    ids=["one stream", "ten streams", "http/1.1"],
)
def narrow_service(request: pytest.FixtureRequest, push_authority: Authority) -> Iterator[Simulator]:
    with Simulator.running(authority=push_authority, **request.param) as simulator:
        yield simulator


def test_a_service_that_takes_little_at_once_gets_everything_once(
    sender: Sender, narrow_service: Simulator
) -> None:
    browsers = [subscribed(narrow_service) for _ in range(200)]

    outcomes = outcomes_of(sender, [message_to(browser) for browser in browsers])

    assert {outcome.verdict for outcome in outcomes} == {Verdict.ACCEPTED}
    assert [len(browser.posts) for browser in browsers] == [1] * 200
    assert narrow_service.counts.connections <= 64


def test_a_service_that_answers_late_has_many_messages_at_once(sender: Sender, push_service: Simulator) -> None:
    push_service.hangs()
    sending = sender.send([message_to(subscribed(push_service)) for _ in range(200)])

    assert next(sending) == []

    push_service.wait_until(lambda counts: counts.posts >= 32, timeout_seconds=30)
    end_the_hanging(push_service)
    sending.close()


@pytest.mark.parametrize("delivers", [True, False])
def test_a_connection_cut_in_the_middle_of_many_loses_nobody_and_repeats_no_answered_one(
    sender: Sender, push_service: Simulator, delivers: bool
) -> None:
    outcomes_of(sender, [message_to(subscribed(push_service)) for _ in range(40)])
    push_service.answers(201, times=100)
    push_service.hangs(delivers=delivers)
    browsers = [subscribed(push_service) for _ in range(300)]

    def cut() -> None:
        push_service.wait_until(lambda counts: counts.posts >= 40 + 100 + 32, timeout_seconds=30)
        end_the_hanging(push_service)

    cutting = threading.Thread(target=cut)
    cutting.start()
    outcomes = outcomes_of(sender, [message_to(browser) for browser in browsers])
    cutting.join()

    assert {outcome.verdict for outcome in outcomes} <= {Verdict.ACCEPTED, Verdict.RETRY}
    assert {outcome.reason for outcome in outcomes} <= {Reason.ACCEPTED, Reason.CONNECTION_BROKEN}
    answered = Counter(len([post for post in browser.posts if post.status == 201]) for browser in browsers)
    assert set(answered) <= {0, 1}
    for browser, outcome in zip(browsers, outcomes, strict=True):
        assert outcome.verdict is Verdict.RETRY or len(browser.received) >= 1


def test_goaway_in_the_middle_of_many_loses_and_repeats_nothing(sender: Sender, push_service: Simulator) -> None:
    push_service.sends_goaway(every=70)
    browsers = [subscribed(push_service) for _ in range(400)]

    outcomes = outcomes_of(sender, [message_to(browser) for browser in browsers])

    assert {outcome.verdict for outcome in outcomes} == {Verdict.ACCEPTED}
    assert [len(browser.posts) for browser in browsers] == [1] * 400
    assert [len(browser.received) for browser in browsers] == [1] * 400


def test_several_large_messages_at_once_arrive_whole(sender: Sender, push_service: Simulator) -> None:
    browsers = [subscribed(push_service) for _ in range(40)]
    payloads = [bytes([number]) * MAX_PLAINTEXT_BYTES for number in range(40)]

    outcomes = outcomes_of(sender, [message_to(*pair) for pair in zip(browsers, payloads, strict=True)])

    assert {outcome.verdict for outcome in outcomes} == {Verdict.ACCEPTED}
    assert [browser.received[0].plaintext for browser in browsers] == payloads


def test_a_small_send_does_not_wait_behind_a_large_one(sender: Sender, push_service: Simulator) -> None:
    large = [message_to(subscribed(push_service))] * 100_000  # a minute's work
    small = [message_to(subscribed(push_service)) for _ in range(3)]
    began, small_is_done = threading.Event(), threading.Event()
    answered: list[int] = []

    def send_large() -> None:
        for pairs in sender.send(large, stop=small_is_done.is_set):
            answered.append(len(pairs))
            if pairs:
                began.set()

    thread = threading.Thread(target=send_large)
    thread.start()
    assert began.wait(60)
    outcomes = outcomes_of(sender, small)
    small_is_done.set()
    thread.join()

    assert {outcome.verdict for outcome in outcomes} == {Verdict.ACCEPTED}
    assert sum(answered) < len(large)


def test_a_service_that_hangs_does_not_hold_up_another(make_sender: MakeSender, push_service: Simulator) -> None:
    sender = make_sender(timeouts=Timeouts(read_seconds=60.0, answer_seconds=60.0))
    push_service.hangs(host="127.0.0.2")
    stuck = [message_to(push_service.subscribe(host="127.0.0.2")) for _ in range(20)]
    free = [message_to(subscribed(push_service)) for _ in range(20)]
    answered: list[tuple[PushMessage, Outcome]] = []

    sending = sender.send([*stuck, *free])
    while len(answered) < len(free):
        answered += next(sending)
    end_the_hanging(push_service)
    sending.close()

    assert {id(message) for message, _outcome in answered} == {id(message) for message in free}
    assert {outcome.verdict for _message, outcome in answered} == {Verdict.ACCEPTED}
