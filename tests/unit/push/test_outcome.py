from datetime import timedelta
from email.utils import format_datetime

import pytest

from app.push.endpoint import PushServiceKind
from app.push.outcome import Outcome, Reason, Verdict, judge
from tests.unit.push.builders import NOW

EVERY_SERVICE = tuple(PushServiceKind)
FCM, MOZILLA, APPLE, WNS, OTHER = EVERY_SERVICE


def judged(
    status_code: int,
    *,
    service: PushServiceKind = OTHER,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    endpoint: str = "",
) -> Outcome:
    return judge(service, status_code, headers or {}, body, now=NOW, endpoint=endpoint)


@pytest.mark.parametrize("service", EVERY_SERVICE)
@pytest.mark.parametrize(
    ("status_code", "verdict", "reason"),
    [
        (200, Verdict.ACCEPTED, Reason.ACCEPTED),
        (201, Verdict.ACCEPTED, Reason.ACCEPTED),
        (202, Verdict.ACCEPTED, Reason.ACCEPTED),
        (204, Verdict.ACCEPTED, Reason.ACCEPTED),
        (301, Verdict.REJECTED, Reason.REDIRECT_REFUSED),
        (302, Verdict.RETRY, Reason.REDIRECT_REFUSED),
        (303, Verdict.RETRY, Reason.REDIRECT_REFUSED),
        (304, Verdict.REJECTED, Reason.UNEXPECTED_STATUS),
        (307, Verdict.RETRY, Reason.REDIRECT_REFUSED),
        (308, Verdict.REJECTED, Reason.REDIRECT_REFUSED),
        (400, Verdict.REJECTED, Reason.BAD_REQUEST),
        (401, Verdict.KEY_MISMATCH, Reason.KEY_MISMATCH),
        (402, Verdict.REJECTED, Reason.REFUSED),
        (403, Verdict.KEY_MISMATCH, Reason.KEY_MISMATCH),
        (404, Verdict.GONE, Reason.GONE),
        (405, Verdict.REJECTED, Reason.REFUSED),
        (408, Verdict.RETRY, Reason.TIMEOUT),
        (410, Verdict.GONE, Reason.GONE),
        (413, Verdict.TOO_LARGE, Reason.TOO_LARGE),
        (418, Verdict.REJECTED, Reason.REFUSED),
        (425, Verdict.RETRY, Reason.RATE_LIMITED),
        (429, Verdict.RETRY, Reason.RATE_LIMITED),
        (500, Verdict.RETRY, Reason.PUSH_SERVICE_ERROR),
        (502, Verdict.RETRY, Reason.PUSH_SERVICE_ERROR),
        (503, Verdict.RETRY, Reason.PUSH_SERVICE_ERROR),
        (599, Verdict.RETRY, Reason.PUSH_SERVICE_ERROR),
        (101, Verdict.RETRY, Reason.UNEXPECTED_STATUS),
        (999, Verdict.RETRY, Reason.UNEXPECTED_STATUS),
    ],
)
def test_every_status_has_its_verdict(
    service: PushServiceKind, status_code: int, verdict: Verdict, reason: Reason
) -> None:
    outcome = judged(status_code, service=service)

    assert (outcome.verdict, outcome.reason, outcome.status_code) == (verdict, reason, status_code)


def test_only_404_and_410_end_a_subscription() -> None:
    ended = {status for status in range(100, 1000) if judged(status).verdict is Verdict.GONE}

    assert ended == {404, 410}


@pytest.mark.parametrize(
    ("service", "status_code", "headers", "body", "expected"),
    [
        (APPLE, 400, {}, b'{"reason":"VapidPkHashMismatch"}', (Verdict.KEY_MISMATCH, Reason.KEY_MISMATCH, None)),
        (APPLE, 400, {}, b'{"reason": "BadWebPushTopic"}', (Verdict.REJECTED, Reason.BAD_TOPIC, None)),
        (APPLE, 400, {}, b'{"reason":"BadTTL"}', (Verdict.REJECTED, Reason.BAD_REQUEST, None)),
        (FCM, 400, {}, b'{"reason":"VapidPkHashMismatch"}', (Verdict.REJECTED, Reason.BAD_REQUEST, None)),
        (MOZILLA, 503, {}, b'{"code": 503, "errno": 202}', (Verdict.RETRY, Reason.PUSH_SERVICE_ERROR, 0)),
        (MOZILLA, 503, {}, b'{"code": 503, "errno": 201}', (Verdict.RETRY, Reason.PUSH_SERVICE_ERROR, None)),
        (FCM, 503, {}, b'{"code": 503, "errno": 202}', (Verdict.RETRY, Reason.PUSH_SERVICE_ERROR, None)),
        (WNS, 406, {}, b"", (Verdict.RETRY, Reason.RATE_LIMITED, None)),
        (WNS, 406, {"Retry-After": "60"}, b"", (Verdict.RETRY, Reason.RATE_LIMITED, 60)),
        (FCM, 406, {}, b"", (Verdict.REJECTED, Reason.REFUSED, None)),
        (
            WNS,
            410,
            {"X-WNS-Error-Description": "Domain Blocked"},
            b"",
            (Verdict.REJECTED, Reason.SENDER_BLOCKED, None),
        ),
        (WNS, 410, {}, b"Domain blocked", (Verdict.REJECTED, Reason.SENDER_BLOCKED, None)),
        (WNS, 410, {"X-WNS-Status": "dropped"}, b"", (Verdict.GONE, Reason.GONE, None)),
        (WNS, 201, {"X-WNS-Status": "received"}, b"", (Verdict.ACCEPTED, Reason.ACCEPTED, None)),
        (WNS, 200, {"X-WNS-Status": "Dropped"}, b"", (Verdict.REJECTED, Reason.DROPPED, None)),
        (WNS, 201, {"x-wns-status": "channelthrottled"}, b"", (Verdict.RETRY, Reason.RATE_LIMITED, None)),
        (FCM, 201, {"X-WNS-Status": "dropped"}, b"", (Verdict.ACCEPTED, Reason.ACCEPTED, None)),
        (OTHER, 200, {"X-WNS-Status": "dropped"}, b"", (Verdict.REJECTED, Reason.DROPPED, None)),
    ],
)
def test_what_one_push_service_means_by_a_status(
    service: PushServiceKind,
    status_code: int,
    headers: dict[str, str],
    body: bytes,
    expected: tuple[Verdict, Reason, int | None],
) -> None:
    outcome = judged(status_code, service=service, headers=headers, body=body)

    assert (outcome.verdict, outcome.reason, outcome.retry_after_seconds) == expected


def in_seconds(seconds: int) -> str:
    return format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 120 ", 120),
        ("0", 1),
        ("86401", 86400),
        ("9" * 5000, 86400),
        (in_seconds(90), 90),
        (in_seconds(-90), 1),
        (in_seconds(10 * 86400), 86400),
        ("Sun, 01 Mar 2026 12:01:30 -0000", 90),
        ("Sunday, 01-Mar-26 12:01:30 GMT", 90),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
        ("Mon, 99 Xyz 2026 99:99:99 GMT", None),
        ("Sun, 01 Mar 99999999999 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_in_seconds_or_as_a_date(value: str, seconds: int | None) -> None:
    assert judged(429, headers={"Retry-After": value}).retry_after_seconds == seconds


@pytest.mark.parametrize("status_code", [201, 400, 403, 410, 413])
def test_only_a_retry_waits(status_code: int) -> None:
    assert judged(status_code, headers={"Retry-After": "60"}).retry_after_seconds is None


@pytest.mark.parametrize(
    ("headers", "message_id"),
    [
        ({"Location": "https://fcm.googleapis.com/0:1700%34a"}, "0:1700%34a"),
        ({"Location": "/m/gAAAA?x=1"}, "gAAAA"),
        ({"apns-id": "EC1BF194-B3B2-424A-89A9-5A918A6E6B5E"}, "EC1BF194-B3B2-424A-89A9-5A918A6E6B5E"),
        ({"X-WNS-Msg-ID": "3CE38FF109E03A74"}, "3CE38FF109E03A74"),
        ({"Location": "https://[::1/x"}, None),
        ({"Location": "https://push.example.net/"}, None),
        ({"apns-id": "\x00\x01"}, None),
        ({}, None),
    ],
)
def test_the_message_id_of_an_accepted_message_is_kept(headers: dict[str, str], message_id: str | None) -> None:
    assert judged(201, headers=headers).message_id == message_id


def test_an_endpoint_given_back_as_location_is_no_message_id() -> None:
    endpoint = "https://push.example.net/s/token"

    assert judged(201, headers={"Location": endpoint}, endpoint=endpoint).message_id is None


def test_a_message_id_is_capped() -> None:
    assert len(judged(201, headers={"apns-id": "x" * 5000}).message_id or "") == 200


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"reason":"BadJwtToken"}', "BadJwtToken"),
        (b'{"code":410,"errno":106,"error":"Gone","message":"No such subscription"}', "No such subscription"),
        (b'{"error":{"code":404,"message":"Requested entity was not found."}}', "Requested entity was not found."),
        (b'{"error":"Gone"}', "Gone"),
        (b'{"code":1}', '{"code":1}'),
        (b'{"reason":["x"]}', '{"reason":["x"]}'),
        (b"<html><head><title>Not Found</title></head><body>x</body></html>", "Not Found"),
        (b"<html>", ""),
        (
            b"push subscription has\r\n  unsubscribed or expired.\n",
            "push subscription has unsubscribed or expired.",
        ),
        (b'{"reason":"a\\u0000b\\ud800c"}', "a b c"),
        (b"\xff\xfe\x00", "\ufffd\ufffd"),
        (b"", ""),
        (b'{"a":' * 3000, None),
    ],
)
def test_the_detail_is_what_the_push_service_says_on_one_printable_line(body: bytes, detail: str | None) -> None:
    found = judged(410, body=body).detail

    assert found.isprintable()
    assert len(found) <= 200
    found.encode("utf-8")
    if detail is not None:
        assert found == detail


def test_wns_says_it_in_a_header() -> None:
    assert judged(400, headers={"X-WNS-Error-Description": "Bad TTL"}, service=WNS).detail == "Bad TTL"


@pytest.mark.parametrize(
    "endpoint", ["https://push.example.net/s/tok", "https://fcm.googleapis.com/fcm/send/" + "dQw4:APA91b-_" * 12]
)
@pytest.mark.parametrize(
    "words", ["no such subscription {}", '{{"message":"{} is gone"}}', "<title>{}</title>", "{}"]
)
def test_an_endpoint_that_is_echoed_is_not_kept(endpoint: str, words: str) -> None:
    tail = endpoint.rpartition("/")[2]
    path = endpoint.partition("://")[2].partition("/")[2]

    for echo in (endpoint, path, f"/{path}"):
        detail = judged(404, body=words.format(echo).encode(), endpoint=endpoint).detail
        assert tail not in detail
