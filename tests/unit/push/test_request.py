from typing import Any

import pytest

from app.push.endpoint import EndpointPolicy
from app.push.message import Urgency, topic_for
from app.push.request import DeadlinePassed, InvalidTopic, headers_for
from tests.unit.push.builders import a_message

FCM = "https://fcm.googleapis.com/fcm/send/abc"
APPLE = "https://web.push.apple.com/QGx"
NOW = 1000.0
WNS = "https://wns2-ln2p.notify.windows.com/w/?token=x"


def wire_headers(endpoint: str = FCM, **message: Any) -> dict[str, str]:
    target = EndpointPolicy().check(endpoint)
    return headers_for(a_message(endpoint, **message), target, authorization="vapid t=a, k=b", now=NOW)


def test_a_push_message_carries_the_headers_of_the_rfcs() -> None:
    topic = topic_for("order-1")

    headers = wire_headers(ttl_seconds=3600, urgency=Urgency.HIGH, topic=topic)

    assert headers == {
        "Authorization": "vapid t=a, k=b",
        "TTL": "3600",
        "Urgency": "high",
        "Topic": topic,
        "Content-Encoding": "aes128gcm",
        "Content-Type": "application/octet-stream",
    }


def test_without_a_topic_there_is_no_topic_header() -> None:
    assert "Topic" not in wire_headers()


def test_an_empty_push_names_no_encoding() -> None:
    headers = wire_headers(payload=b"")

    assert "Content-Encoding" not in headers
    assert "Content-Type" not in headers
    assert headers["TTL"] == "60"


@pytest.mark.parametrize(
    ("endpoint", "ttl_seconds", "on_the_wire"),
    [
        (FCM, 0, "0"),
        (FCM, -5, "0"),
        (FCM, 40 * 86400, "2419200"),
        (FCM, 59.9, "59"),
        (APPLE, 0, "1"),
        (APPLE, 30, "30"),
    ],
)
def test_the_ttl_is_one_that_the_push_service_takes(endpoint: str, ttl_seconds: int, on_the_wire: str) -> None:
    assert wire_headers(endpoint, ttl_seconds=ttl_seconds)["TTL"] == on_the_wire


@pytest.mark.parametrize(("ttl_seconds", "policy"), [(0, "no-cache"), (1, "cache"), (86400, "cache")])
def test_wns_gets_the_cache_policy_that_goes_with_the_ttl(ttl_seconds: int, policy: str) -> None:
    assert wire_headers(WNS, ttl_seconds=ttl_seconds)["X-WNS-Cache-Policy"] == policy
    assert "X-WNS-Cache-Policy" not in wire_headers(FCM, ttl_seconds=ttl_seconds)


@pytest.mark.parametrize("topic", ["", "x" * 33, "a b", "a\r\nX-Injected: 1", "é", "a=b"])
def test_a_topic_that_could_break_the_request_is_refused(topic: str) -> None:
    with pytest.raises(InvalidTopic):
        wire_headers(topic=topic)


@pytest.mark.parametrize(
    ("ttl_seconds", "seconds_left", "on_the_wire"),
    [(60, 300.0, "60"), (60, 30.9, "30"), (60, 1.0, "1"), (60, 0.01, "1"), (0, 30.0, "0"), (0, 0.01, "0")],
)
def test_the_ttl_ends_no_later_than_the_message(ttl_seconds: int, seconds_left: float, on_the_wire: str) -> None:
    assert wire_headers(ttl_seconds=ttl_seconds, expires_at=NOW + seconds_left)["TTL"] == on_the_wire


@pytest.mark.parametrize("ttl_seconds", [0, 60])
@pytest.mark.parametrize("seconds_ago", [0.0, 5.0])
def test_a_message_whose_time_is_over_has_no_request(ttl_seconds: int, seconds_ago: float) -> None:
    with pytest.raises(DeadlinePassed):
        wire_headers(ttl_seconds=ttl_seconds, expires_at=NOW - seconds_ago)
