"""Every sender: hosts that hang, or whose names are looked up for ever, hold up no other host."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from app.push.address import CheckedAddress
from app.push.message import PushMessage
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
from tests.support.waiting import DEADLINE_SECONDS, until

HTTP2 = ("h2", "http/1.1")
HTTP1 = ("http/1.1",)
FREE = "127.0.0.1"
HANGING = tuple(f"127.0.0.{number}" for number in range(2, 22))
# Nothing that hangs is given up while a test looks at the others.
PATIENT = Timeouts(
    connect_seconds=2 * DEADLINE_SECONDS, read_seconds=DEADLINE_SECONDS, answer_seconds=DEADLINE_SECONDS
)


@pytest.fixture
def many_services(request: pytest.FixtureRequest, push_authority: Authority) -> Iterator[Simulator]:
    with Simulator.running(authority=push_authority, hosts=(FREE, *HANGING), protocols=request.param) as simulator:
        yield simulator


@contextmanager
def sending(sender: Sender, messages: Sequence[PushMessage]) -> Iterator[list[Outcome]]:
    """Send in another thread for the block, and stop after it; gives the outcomes so far."""
    outcomes: list[Outcome] = []
    over = threading.Event()

    def send() -> None:
        for pairs in sender.send(messages, stop=over.is_set):
            outcomes.extend(outcome for _message, outcome in pairs)
            if over.is_set():
                return

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield outcomes
    finally:
        over.set()
        thread.join(DEADLINE_SECONDS)


@pytest.mark.parametrize("hanging", [HANGING[:2], HANGING], ids=["two", "twenty"])
@pytest.mark.parametrize(
    ("make_sender", "many_services"),
    # pywebpush speaks HTTP/1.1 to everybody.
    [("curl", HTTP2), ("curl", HTTP1), ("pywebpush", HTTP2)],
    ids=["curl-h2", "curl-http/1.1", "pywebpush"],
    indirect=True,
)
def test_hosts_that_hang_with_all_they_can_take_leave_room_for_another(
    make_sender: MakeSender, many_services: Simulator, hanging: Sequence[str]
) -> None:
    sender = make_sender(timeouts=PATIENT)
    with ExitStack() as stack:
        for host in hanging:
            many_services.hangs(host=host)
            messages = [message_to(many_services.subscribe(host=host))] * 600
            stack.enter_context(sending(sender, messages))
        many_services.wait_until(lambda counts: counts.posts >= 2 * len(hanging), timeout_seconds=DEADLINE_SECONDS)

        outcomes = outcomes_of(sender, [message_to(subscribed(many_services)) for _ in range(100)])
        end_the_hanging(many_services)

    assert [outcome.verdict for outcome in outcomes] == [Verdict.ACCEPTED] * 100


def test_names_that_are_looked_up_for_ever_hold_up_no_other(
    build: Callable[..., Sender], push_service: Simulator, push_ca_file: Path
) -> None:
    over = threading.Event()
    asked = []

    def resolve(host: str, port: int) -> Sequence[CheckedAddress]:
        if host != FREE:
            asked.append(host)
            over.wait(DEADLINE_SECONDS)
            raise OSError("nobody knows it")
        return [CheckedAddress(host, port, host)]

    sender = build(timeouts=PATIENT, ca_file=push_ca_file, resolve_host=resolve)
    with ExitStack() as stack:
        for number in range(20):
            endpoint = f"https://hangs-{number}.notify.windows.com/w/?token=x"
            messages = [message_to(subscribed(push_service), endpoint=endpoint)] * 200
            stack.enter_context(sending(sender, messages))
        until(lambda: len(set(asked)) >= 16, "names are looked up")

        outcomes = outcomes_of(sender, [message_to(subscribed(push_service)) for _ in range(100)])
        over.set()

    assert [outcome.verdict for outcome in outcomes] == [Verdict.ACCEPTED] * 100


def test_what_is_in_flight_to_a_host_that_hangs_has_an_end(
    make_sender: MakeSender, push_service: Simulator
) -> None:
    sender = make_sender(timeouts=Timeouts(read_seconds=1.0, answer_seconds=1.0))
    push_service.hangs()
    browsers = [subscribed(push_service) for _ in range(300)]
    is_over = threading.Event()

    outcomes = []
    for pairs in sender.send([message_to(browser) for browser in browsers], stop=is_over.is_set):
        outcomes += [outcome for _message, outcome in pairs]
        if outcomes:
            is_over.set()

    assert {(outcome.verdict, outcome.reason) for outcome in outcomes} == {(Verdict.RETRY, Reason.TIMEOUT)}
    assert len(outcomes) < 300
    assert max(len(browser.posts) for browser in browsers) == 1
