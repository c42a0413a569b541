"""What only this adapter has; the rest is the contract of every sender, in tests/integration/sender_contract."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.push import curl_loop, curl_transfer
from app.push.address import CheckedAddress
from app.push.curl_library import pycurl
from app.push.curl_sender import CurlSender
from app.push.endpoint import EndpointPolicy
from app.push.message import PushMessage, topic_for
from app.push.outcome import Outcome, Reason, Verdict
from app.push.sender import Timeouts
from app.push.vapid import VapidSigner
from app.simulator import Authority, Simulator
from tests.integration.sender_contract.raw_server import OK, answering, serving
from tests.integration.sender_contract.sending import (
    end_the_hanging,
    message_to,
    outcome_of,
    outcomes_of,
    subscribed,
)
from tests.unit.push.builders import a_message

WAIT_SECONDS = 60.0


@pytest.fixture
def sender(push_ca_file: Path) -> Iterator[CurlSender]:
    sender = CurlSender(
        policy=EndpointPolicy(allow_loopback=True, extra_hosts=frozenset({"nowhere.example.net"})),
        signer=VapidSigner("mailto:push@example.com"),
        ca_file=push_ca_file,
        timeouts=Timeouts(read_seconds=WAIT_SECONDS, answer_seconds=WAIT_SECONDS),
    )
    yield sender
    sender.close()


def test_messages_travel_over_http2_on_few_connections(sender: CurlSender, push_service: Simulator) -> None:
    browsers = [subscribed(push_service) for _ in range(300)]

    outcomes_of(sender, [message_to(browser) for browser in browsers])

    assert {browser.posts[0].http_version for browser in browsers} == {"2"}
    assert push_service.counts.connections <= 8


@pytest.mark.parametrize("is_warm", [False, True])
def test_what_may_have_arrived_is_not_sent_again(
    sender: CurlSender, push_service: Simulator, is_warm: bool
) -> None:
    if is_warm:
        outcomes_of(sender, [message_to(subscribed(push_service)) for _ in range(10)])
    browsers = [subscribed(push_service) for _ in range(120)]
    for browser in (browsers[0], *browsers[100:]):  # so the connection is never idle, and has answered meanwhile
        push_service.hangs(browser=browser, delivers=True)
    before = push_service.counts.posts

    def cut() -> None:
        push_service.wait_until(lambda counts: counts.posts == before + 120, timeout_seconds=WAIT_SECONDS)
        end_the_hanging(push_service)

    cutting = threading.Thread(target=cut)
    cutting.start()
    outcomes = outcomes_of(sender, [message_to(browser) for browser in browsers])
    cutting.join()

    assert [outcome.reason for outcome in outcomes] == [
        Reason.CONNECTION_BROKEN,
        *[Reason.ACCEPTED] * 99,
        *[Reason.CONNECTION_BROKEN] * 20,
    ]
    assert max(len(browser.posts) for browser in browsers) == 1


def test_nothing_stays_in_flight_of_what_was_refused_or_cut(sender: CurlSender, push_service: Simulator) -> None:
    push_service.sends_goaway(every=7)
    push_service.drops_connection(every=50)
    push_service.answers(400, body='{"reason":"BadWebPushTopic"}', service="apple", every=5)
    topic = topic_for("order-1")
    messages = [message_to(subscribed(push_service, "apple"), topic=topic) for _ in range(300)]

    outcomes = outcomes_of(sender, messages)

    assert sender._thread is not None
    flight = sender._thread._flight
    assert len(outcomes) == 300
    assert len(flight) == 0
    assert [host.in_flight for host in flight._hosts.values()] == [0]
    assert not sender._thread._loop.has_work


def test_a_service_that_refuses_everything_is_not_asked_without_end(
    sender: CurlSender, push_authority: Authority
) -> None:
    with Simulator.running(authority=push_authority, max_concurrent_streams=0) as push_service:
        outcomes = outcomes_of(sender, [message_to(subscribed(push_service)) for _ in range(60)])

        assert {(outcome.verdict, outcome.reason) for outcome in outcomes} == {
            (Verdict.RETRY, Reason.CONNECTION_BROKEN)
        }
        assert push_service.counts.tcp_connections < 300


def test_no_socket_is_opened_to_an_address_that_was_not_checked(
    sender: CurlSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = curl_transfer.Transfer.load

    def load_another(self: curl_transfer.Transfer, *args: Any, **kwargs: Any) -> None:
        told(self, *args, **kwargs)
        self.curl.setopt(pycurl.RESOLVE, [f"+localhost:{server.port}:127.0.0.1"])

    def resolve_elsewhere(host: str, port: int) -> Sequence[CheckedAddress]:
        return [CheckedAddress(host, port, "127.0.0.2")]

    with serving(answering(OK)) as server:
        monkeypatch.setattr(curl_transfer.Transfer, "load", load_another)
        strict = CurlSender(
            policy=EndpointPolicy(allow_loopback=True),
            signer=VapidSigner("mailto:push@example.com"),
            resolve_host=resolve_elsewhere,
        )
        outcome = outcome_of(strict, a_message(f"http://localhost:{server.port}/push/1"))
        strict.close()

        assert outcome.reason is Reason.CONNECTION_FAILED
        assert server.connections == 0


def test_a_thread_that_dies_leaves_nobody_waiting_and_the_next_send_has_another(
    sender: CurlSender, push_service: Simulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    turns = curl_loop.CurlLoop.turn

    def die(loop: curl_loop.CurlLoop) -> None:
        turns(loop)
        raise MemoryError(browsers[0].endpoint)

    browsers = [subscribed(push_service) for _ in range(100)]
    monkeypatch.setattr(curl_loop.CurlLoop, "turn", die)
    outcomes = outcomes_of(sender, [message_to(browser) for browser in browsers])
    monkeypatch.undo()
    later = outcome_of(sender, message_to(browsers[0]))

    assert {(outcome.verdict, outcome.reason) for outcome in outcomes} == {(Verdict.RETRY, Reason.INTERNAL_ERROR)}
    assert later.verdict is Verdict.ACCEPTED
    assert "MemoryError" in caplog.text
    assert browsers[0].endpoint not in caplog.text


def test_what_would_be_sent_again_too_late_ends_all_the_same(
    sender: CurlSender, push_service: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        @staticmethod
        def monotonic() -> float:
            """Half a minute passes while the push service has the message."""
            return time.monotonic() + (30 if browser.posts else 0)

    browser = subscribed(push_service, "apple")
    push_service.answers(400, body='{"reason":"BadWebPushTopic"}')
    monkeypatch.setattr(curl_loop, "time", Clock)
    message = message_to(browser, topic=topic_for("order-1"), expires_at=time.monotonic() + 20)

    outcome = outcome_of(sender, message)

    assert outcome.verdict is Verdict.EXPIRED
    assert len(browser.posts) == 1


def test_what_stop_raises_reaches_its_caller_and_nobody_else(sender: CurlSender, push_service: Simulator) -> None:
    browser = subscribed(push_service)

    def stop() -> bool:
        raise LookupError("no such batch")

    with pytest.raises(LookupError, match="no such batch"):
        list(sender.send([message_to(browser)], stop=stop))

    assert outcome_of(sender, message_to(browser)).verdict is Verdict.ACCEPTED


def test_closing_from_another_thread_lets_a_send_end_with_what_was_in_flight(
    sender: CurlSender, push_service: Simulator
) -> None:
    push_service.delays(0.2)
    messages = [message_to(subscribed(push_service))] * 60_000  # most of a minute's work
    answered: list[tuple[PushMessage, Outcome]] = []
    sending = sender.send(messages)
    closer = threading.Thread(target=sender.close)

    assert push_service.counts.posts == 0
    first = threading.Thread(target=lambda: answered.extend(next(sending)))
    first.start()
    push_service.wait_until(lambda counts: counts.posts > 0, timeout_seconds=WAIT_SECONDS)
    closer.start()
    first.join()
    answered.extend(pair for pairs in sending for pair in pairs)
    closer.join(WAIT_SECONDS)

    assert not closer.is_alive()
    assert {outcome.verdict for _message, outcome in answered} == {Verdict.ACCEPTED}
    assert len(answered) == push_service.counts.posts < len(messages)


def test_a_name_that_is_not_known_yet_holds_up_no_other(sender: CurlSender, push_service: Simulator) -> None:
    asked, over = threading.Event(), threading.Event()

    def resolve_slowly(host: str, port: int) -> Sequence[CheckedAddress]:
        if host == "nowhere.example.net":
            asked.set()
            assert over.wait(WAIT_SECONDS)
            raise OSError("nobody knows it")
        return [CheckedAddress(host, port, host)]

    sender._resolve = resolve_slowly
    lost = message_to(subscribed(push_service), endpoint="https://nowhere.example.net/push/1")
    found = message_to(subscribed(push_service))
    order = []

    for pairs in sender.send([lost, found]):
        order += [message for message, _outcome in pairs]
        if order:
            over.set()

    assert asked.is_set()
    assert order == [found, lost]


def test_a_name_that_is_looked_up_for_ever_is_tried_again_later(push_service: Simulator) -> None:
    over = threading.Event()

    def resolve_never(host: str, port: int) -> Sequence[CheckedAddress]:
        over.wait(WAIT_SECONDS)
        raise OSError("nobody knows it")

    sender = CurlSender(
        policy=EndpointPolicy(allow_loopback=True),
        signer=VapidSigner("mailto:push@example.com"),
        timeouts=Timeouts(connect_seconds=0.2),
        resolve_host=resolve_never,
    )
    outcomes = outcomes_of(sender, [message_to(subscribed(push_service)) for _ in range(200)])
    is_still_looked_up = not over.is_set()
    sender.close()
    over.set()

    assert {(outcome.verdict, outcome.reason) for outcome in outcomes} == {(Verdict.RETRY, Reason.DNS_FAILURE)}
    assert is_still_looked_up


def test_the_secrets_of_tls_are_written_nowhere(
    push_service: Simulator, push_ca_file: Path, tmp_path: Path
) -> None:
    key_log = tmp_path / "keys.log"
    browser = subscribed(push_service)
    program = f"""
from pathlib import Path
from typing import Any
from app.push.endpoint import EndpointPolicy
from app.push.factory import create_sender
from app.push.keys import VapidKey
from app.push.message import PushMessage
import os
sender = create_sender("curl", policy=EndpointPolicy(allow_loopback=True), subject="mailto:push@example.com",
                       ca_file=Path({str(push_ca_file)!r}))
keys = {browser.subscription["keys"]!r}
message = PushMessage({browser.endpoint!r}, keys["p256dh"], keys["auth"], b"x", VapidKey.generate(), 60)
print([outcome.status_code for pairs in sender.send([message]) for _message, outcome in pairs])
print(type(sender).__name__, "SSLKEYLOGFILE" in os.environ)
sender.close()
"""

    environment = {**os.environ, "SSLKEYLOGFILE": str(key_log)}
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=120
    )

    assert ran.stdout.split() == ["[403]", "CurlSender", "True"]
    # requests opens the file when it is imported, and writes nothing of ours.
    assert not key_log.exists() or "SECRET" not in key_log.read_text()
