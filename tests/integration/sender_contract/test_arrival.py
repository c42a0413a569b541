"""Every sender: what reaches the browser, and what never leaves."""

import time
from pathlib import Path

import pytest

from app.push.message import DECLARATIVE, MAX_PLAINTEXT_BYTES, OCTET_STREAM, Urgency, topic_for
from app.push.outcome import Reason, Verdict
from app.push.sender import Sender
from app.simulator import Browser, Simulator
from tests.integration.sender_contract.sending import (
    SERVICES,
    MakeSender,
    message_to,
    outcome_of,
    outcomes_of,
    subscribed,
)


@pytest.mark.parametrize("service", SERVICES)
def test_a_message_reaches_the_browser_and_is_accepted(
    sender: Sender,
    push_service: Simulator,
    service: str,
) -> None:
    browser = subscribed(push_service, service)
    topic = topic_for("order-1")

    outcome = outcome_of(sender, message_to(browser, b"hello", urgency=Urgency.HIGH, topic=topic))

    (received,) = browser.wait_for(1)
    assert received.plaintext == b"hello"
    assert (received.ttl, received.urgency, received.topic) == (3600, "high", topic)
    assert (outcome.verdict, outcome.status_code, outcome.detail) == (Verdict.ACCEPTED, 201, "")
    assert outcome.message_id
    assert len(browser.posts) == 1


@pytest.mark.parametrize(
    "payload",
    [
        b"x",
        "Grüße, 世界 👋🏽 \u202e\x00".encode(),
        bytes(range(256)),
        "€".encode() * (MAX_PLAINTEXT_BYTES // 3),
        b"\x02" * MAX_PLAINTEXT_BYTES,
    ],
    ids=["one byte", "utf-8", "every byte", "utf-8 of the maximum", "the maximum"],
)
@pytest.mark.parametrize("service", SERVICES)
def test_the_browser_decrypts_exactly_what_was_sent(
    sender: Sender,
    push_service: Simulator,
    service: str,
    payload: bytes,
) -> None:
    browser = subscribed(push_service, service)

    outcome = outcome_of(sender, message_to(browser, payload))

    assert outcome.verdict is Verdict.ACCEPTED
    assert [message.plaintext for message in browser.wait_for(1)] == [payload]


def test_a_payload_is_sent_with_its_content_type(sender: Sender, push_service: Simulator) -> None:
    browsers = [subscribed(push_service, "apple") for _ in range(2)]
    declarative = b'{"web_push":8030,"notification":{"title":"Hello","navigate":"https://example.com/"}}'

    outcomes_of(
        sender,
        [message_to(browsers[0]), message_to(browsers[1], declarative, content_type=DECLARATIVE)],
    )

    received = [browser.wait_for(1)[0] for browser in browsers]
    assert [each.post.content_type for each in received] == [OCTET_STREAM, DECLARATIVE]
    assert received[1].fields() == {"title": "Hello", "url": "https://example.com/"}


def test_a_push_without_a_payload_has_no_body(sender: Sender, browser: Browser) -> None:
    outcome = outcome_of(sender, message_to(browser, b""))

    (received,) = browser.wait_for(1)
    assert outcome.verdict is Verdict.ACCEPTED
    assert received.headers.get("content-length") in ("0", None)
    assert "content-encoding" not in received.headers


def test_a_message_whose_time_is_over_is_not_posted(sender: Sender, push_service: Simulator) -> None:
    late, in_time = subscribed(push_service), subscribed(push_service)
    now = time.monotonic()
    messages = [message_to(late, expires_at=now - 0.001), message_to(in_time, expires_at=now + 1000)]

    outcomes = outcomes_of(sender, messages)

    assert (outcomes[0].verdict, outcomes[0].reason) == (Verdict.EXPIRED, Reason.DEADLINE)
    assert late.posts == []
    assert outcomes[1].verdict is Verdict.ACCEPTED
    assert in_time.posts[0].ttl in range(900, 1001)


@pytest.mark.parametrize("service", SERVICES)
def test_a_ttl_of_zero_is_sent_in_the_way_each_service_takes_it(
    sender: Sender,
    push_service: Simulator,
    service: str,
) -> None:
    browser = subscribed(push_service, service)

    assert outcome_of(sender, message_to(browser, ttl_seconds=0)).verdict is Verdict.ACCEPTED


def test_a_topic_that_apple_dislikes_is_left_out_once(sender: Sender, push_service: Simulator) -> None:
    browser = subscribed(push_service, "apple")
    push_service.answers(400, body='{"reason":"BadWebPushTopic"}', times=1)

    outcome = outcome_of(sender, message_to(browser, topic=topic_for("order-1")))

    assert outcome.verdict is Verdict.ACCEPTED
    assert [post.topic is None for post in browser.posts] == [False, True]


def test_a_topic_is_left_out_no_more_than_once(sender: Sender, push_service: Simulator) -> None:
    browser = subscribed(push_service, "apple")
    push_service.answers(400, body='{"reason":"BadWebPushTopic"}')

    outcome = outcome_of(sender, message_to(browser, topic=topic_for("order-1")))

    assert (outcome.verdict, outcome.reason) == (Verdict.REJECTED, Reason.BAD_TOPIC)
    assert len(browser.posts) == 2


def test_the_environment_has_no_say_in_where_a_message_goes_and_whom_we_believe(
    make_sender: MakeSender, browser: Browser, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    key_log = tmp_path / "tls-keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(key_log))

    outcome = outcome_of(make_sender(), message_to(browser))

    assert outcome.verdict is Verdict.ACCEPTED
    assert not key_log.exists()


def test_a_broken_message_is_an_outcome_and_the_others_go_out(sender: Sender, push_service: Simulator) -> None:
    good = [subscribed(push_service) for _ in range(3)]
    spare = subscribed(push_service)
    broken = {
        Reason.INVALID_KEYS: message_to(spare, p256dh="AAAA"),
        Reason.TOO_LARGE: message_to(spare, b"x" * (MAX_PLAINTEXT_BYTES + 1)),
        Reason.BAD_TOPIC: message_to(spare, topic="a\r\nX-Injected: 1"),
        Reason.ENDPOINT_NOT_ALLOWED: message_to(spare, endpoint="https://10.0.0.1/fcm/x"),
    }

    outcomes = outcomes_of(sender, [*broken.values(), *map(message_to, good)])

    assert [outcome.reason for outcome in outcomes[: len(broken)]] == list(broken)
    assert {outcome.verdict for outcome in outcomes[len(broken) :]} == {Verdict.ACCEPTED}
    assert outcomes[1].verdict is Verdict.TOO_LARGE
    assert spare.posts == []


def test_loopback_is_not_posted_to_unless_it_is_allowed(make_sender: MakeSender, browser: Browser) -> None:
    outcome = outcome_of(make_sender(allow_loopback=False), message_to(browser))

    assert outcome.reason is Reason.ENDPOINT_NOT_ALLOWED
    assert browser.posts == []


def test_many_messages_share_connections_and_vapid_headers(sender: Sender, push_service: Simulator) -> None:
    browsers = [subscribed(push_service) for _ in range(150)]

    outcomes = outcomes_of(sender, [message_to(browser) for browser in browsers])

    assert {outcome.verdict for outcome in outcomes} == {Verdict.ACCEPTED}
    assert sum(push_service.counts.connections_by_http_version.values()) <= 32
    assert len({browser.posts[0].headers["authorization"] for browser in browsers}) == 1


def test_each_message_is_encrypted_with_a_key_of_its_own(sender: Sender, browser: Browser) -> None:
    outcomes_of(sender, [message_to(browser, b"same") for _ in range(4)])

    bodies = [body for _post, body in browser._encrypted]
    assert len({body[:16] for body in bodies}) == 4  # salt
    assert len({body[21:86] for body in bodies}) == 4  # ephemeral public key
