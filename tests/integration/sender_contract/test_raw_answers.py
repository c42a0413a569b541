"""Every sender, on HTTP/1.1 without TLS: answers that no proper push service gives, and what stands on the wire."""

import logging
import socket
import time
from collections.abc import Callable, Sequence

import pytest

from app.push.address import AddressNotPublic, CheckedAddress
from app.push.keys import VapidKey
from app.push.outcome import Reason, Verdict
from app.push.sender import Sender, Timeouts
from app.push.vapid import VapidSigner
from tests.integration.sender_contract.raw_server import OK, Exchange, answering, serving
from tests.integration.sender_contract.sending import outcome_of
from tests.unit.push.builders import a_message

Build = Callable[..., Sender]


@pytest.fixture
def sender(build: Build) -> Sender:
    return build()


@pytest.mark.parametrize(
    ("beginning", "drop"),
    [
        (b"HTTP/1.1 201 ", b" "),
        (b"HTTP/1.1 201 Created\r\nX: ", b"y"),
        (b"HTTP/1.1 201 Created\r\n", b"X: y\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["status", "header", "headers", "continue"],
)
def test_an_answer_that_drips_is_given_up_as_a_whole(build: Build, beginning: bytes, drop: bytes) -> None:
    sender = build(timeouts=Timeouts(read_seconds=0.3, answer_seconds=0.4))

    def behave(exchange: Exchange) -> None:
        exchange.read_request()
        exchange.say(beginning)
        exchange.drip(drop, every_seconds=0.05)

    with serving(behave) as server:
        outcome = outcome_of(sender, a_message(server.endpoint()))

    assert (outcome.verdict, outcome.reason) == (Verdict.RETRY, Reason.TIMEOUT)


def test_a_body_that_drips_does_not_hide_the_status_nor_hold_us_up(build: Build) -> None:
    sender = build(timeouts=Timeouts(read_seconds=60.0, answer_seconds=60.0, body_seconds=0.2))

    def behave(exchange: Exchange) -> None:
        exchange.read_request()
        exchange.say(b"HTTP/1.1 410 Gone\r\nContent-Length: 1000\r\n\r\n")
        exchange.drip(b"x", every_seconds=0.05)

    with serving(behave) as server:
        began = time.monotonic()
        outcome = outcome_of(sender, a_message(server.endpoint()))
        took_seconds = time.monotonic() - began

    assert (outcome.verdict, outcome.status_code) == (Verdict.GONE, 410)
    assert took_seconds < 30


@pytest.mark.parametrize("status", [b"201 Created", b"302 Found", b"500 Oops"])
@pytest.mark.parametrize(
    "length", [b"Content-Length: 100000000000", b"Transfer-Encoding: chunked", b"Connection: close"]
)
def test_no_more_is_read_of_an_endless_body_than_is_kept(build: Build, status: bytes, length: bytes) -> None:
    sender = build(timeouts=Timeouts(body_seconds=10.0))
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"

    def behave(exchange: Exchange) -> None:
        exchange.read_request()
        exchange.say(b"HTTP/1.1 " + status + b"\r\nLocation: http://127.0.0.1:1/\r\n" + length + b"\r\n\r\n")
        for sent in range(2000):
            exchange.say(chunk)
            said.append(sent)

    said: list[int] = []
    with serving(behave) as server:
        outcome = outcome_of(sender, a_message(server.endpoint()))

    assert outcome.status_code == int(status[:3])
    assert len(said) < 1000  # the sockets' buffers take some


@pytest.mark.parametrize(
    "headers", [b"X: " + b"y" * 1_000_000, b"X: y\r\n" * 100_000], ids=["one that is long", "many"]
)
def test_headers_without_measure_are_not_the_subscriptions_fault(sender: Sender, headers: bytes) -> None:
    answer = b"HTTP/1.1 410 Gone\r\n" + headers + b"\r\nContent-Length: 0\r\n\r\n"

    with serving(answering(answer)) as server:
        outcome = outcome_of(sender, a_message(server.endpoint()))

    assert (outcome.verdict, outcome.reason) == (Verdict.RETRY, Reason.BAD_ANSWER)


@pytest.mark.parametrize(
    "location", [b"http://[", b"//", b"\xff\xfe", b"http://" + b"a" * 300, b"javascript:1", b"http://xn--\xc3\xa9/"]
)
def test_a_malformed_location_does_not_hide_the_status(sender: Sender, location: bytes) -> None:
    answer = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n"

    with serving(answering(answer)) as server:
        outcome = outcome_of(sender, a_message(server.endpoint()))

    assert (outcome.reason, outcome.status_code) == (Reason.REDIRECT_REFUSED, 307)


def test_a_compressed_answer_is_not_unpacked(sender: Sender) -> None:
    answer = b"HTTP/1.1 400 Bad\r\nContent-Encoding: gzip\r\nContent-Length: 6\r\n\r\nnot gz"

    with serving(answering(answer)) as server:
        outcome = outcome_of(sender, a_message(server.endpoint()))

    assert (outcome.verdict, outcome.detail) == (Verdict.REJECTED, "not gz")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 201 Created\r\nno colon here\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 410 Gone\r\nContent-Length: 24\r\n\r\n/push/a-secret-token gone",
        b"nonsense\r\n\r\n",
        b"",
    ],
)
def test_no_log_line_holds_an_endpoint(sender: Sender, answer: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    with serving(answering(answer)) as server:
        outcome = outcome_of(sender, a_message(server.endpoint()))

    assert "a-secret-token" not in caplog.text
    assert "a-secret-token" not in repr(outcome)


def test_an_unforeseen_error_is_an_outcome_and_its_text_is_not_logged(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    class BrokenSigner(VapidSigner):
        def authorization(self, origin: str, key: VapidKey) -> str:
            raise KeyError(f"{origin}/a-secret-token")

    sender = build(signer=BrokenSigner("mailto:push@example.com"))

    outcome = outcome_of(sender, a_message("http://127.0.0.1:9/push/1"))

    assert (outcome.verdict, outcome.reason, outcome.detail) == (Verdict.RETRY, Reason.INTERNAL_ERROR, "KeyError")
    assert "KeyError" in caplog.text
    assert "a-secret-token" not in caplog.text


def test_a_cookie_is_not_given_back(sender: Sender) -> None:
    answer = b"HTTP/1.1 201 Created\r\nSet-Cookie: who=you; Path=/\r\nContent-Length: 0\r\n\r\n"

    with serving(answering(answer, answer)) as server:
        for _ in range(2):
            outcome_of(sender, a_message(server.endpoint()))

        assert len(server.requests) == 2
        assert not any(b"cookie" in head.lower() for head in server.requests)


def test_a_connection_is_kept_and_each_answer_has_its_own_deadline(build: Build) -> None:
    sender = build(timeouts=Timeouts(read_seconds=3.0, answer_seconds=3.0))

    def behave(exchange: Exchange) -> None:
        while True:
            exchange.read_request()
            exchange.over.wait(0.35)
            exchange.say(OK)

    with serving(behave) as server:
        verdicts = [outcome_of(sender, a_message(server.endpoint())).verdict for _ in range(9)]

        assert verdicts == [Verdict.ACCEPTED] * 9
        assert server.connections == 1


def test_a_request_lost_on_a_kept_connection_is_repeated_at_once(sender: Sender) -> None:
    def behave(exchange: Exchange) -> None:
        exchange.read_request()
        exchange.say(OK)
        exchange.read_request()  # and then the connection is closed, as if it had been idle for too long

    with serving(behave) as server:
        verdicts = [outcome_of(sender, a_message(server.endpoint())).verdict for _ in range(2)]

        assert verdicts == [Verdict.ACCEPTED] * 2
        assert (len(server.requests), server.connections) == (3, 2)


def test_a_request_lost_on_a_new_connection_is_not_repeated(sender: Sender) -> None:
    def behave(exchange: Exchange) -> None:
        exchange.read_request()

    with serving(behave) as server:
        outcome = outcome_of(sender, a_message(server.endpoint()))

        assert (outcome.verdict, outcome.reason) == (Verdict.RETRY, Reason.CONNECTION_BROKEN)
        assert len(server.requests) == 1


def test_the_wire_carries_a_plain_request_with_its_length(sender: Sender) -> None:
    with serving(answering(OK)) as server:
        outcome_of(sender, a_message(server.endpoint("/push/a%2Fb?c=d%3D"), ttl_seconds=30))

        (head,) = server.requests
    lines = head.decode().split("\r\n")
    names = {line.partition(":")[0].lower() for line in lines[1:]}
    assert lines[0] == "POST /push/a%2Fb?c=d%3D HTTP/1.1"
    assert "TTL: 30" in lines
    assert names - {"accept-encoding"} == {
        *("host", "content-length", "content-type", "content-encoding", "authorization", "ttl", "urgency"),
        "user-agent",
    }
    assert {line for line in lines if line.lower().startswith("accept-encoding")} <= {"Accept-Encoding: identity"}


def test_the_connection_is_made_to_the_checked_address_and_no_other(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def second_lookup(host: str, *_args: object, **_kwargs: object) -> None:
        raise AssertionError(f"{host} was looked up again")

    with serving(answering(OK)) as server:

        def resolve_once(host: str, port: int) -> Sequence[CheckedAddress]:
            asked.append(host)
            return [CheckedAddress(host, port, "127.0.0.2"), CheckedAddress(host, port, "127.0.0.1")]

        asked: list[str] = []
        sender = build(resolve_host=resolve_once)
        monkeypatch.setattr(socket, "getaddrinfo", second_lookup)
        outcome = outcome_of(sender, a_message(f"http://localhost:{server.port}/push/1"))

        assert outcome.verdict is Verdict.ACCEPTED
        assert asked == ["localhost"]
        assert f"Host: localhost:{server.port}".encode() in server.requests[0]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AddressNotPublic("private"), Reason.ADDRESS_NOT_PUBLIC),
        (socket.gaierror(socket.EAI_AGAIN, "later"), Reason.DNS_FAILURE),
    ],
)
def test_a_name_that_leads_nowhere_good_is_tried_again_later(build: Build, error: OSError, reason: Reason) -> None:
    def resolve_badly(host: str, port: int) -> Sequence[CheckedAddress]:
        raise error

    sender = build(resolve_host=resolve_badly)

    outcome = outcome_of(sender, a_message())

    assert (outcome.verdict, outcome.reason) == (Verdict.RETRY, reason)


def test_ipv6_loopback_is_posted_to(sender: Sender) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("needs IPv6")

    with serving(answering(OK), host="::1") as server:
        outcome = outcome_of(sender, a_message(f"http://[::1]:{server.port}/push/1"))

    assert outcome.verdict is Verdict.ACCEPTED
