"""What became of a message: the verdict table for push services' answers, and for our own failures.

An answer is a value, never an exception. Only 404 and 410 end a subscription; a refused connection, a timeout
or a certificate that expired says nothing about the subscription, so it waits and tries again until the
deadline.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from app.push.answer import described, message_id_in, retry_after_seconds
from app.push.endpoint import PushServiceKind


class Verdict(StrEnum):
    """What to do with the delivery and its subscription."""

    ACCEPTED = "accepted"  # the push service has it
    GONE = "gone"  # the subscription has ended
    KEY_MISMATCH = "key_mismatch"  # our VAPID credentials were refused; the subscription lives
    REJECTED = "rejected"  # permanent for this message only
    TOO_LARGE = "too_large"  # permanent for this message only
    RETRY = "retry"  # wait, and try again until the deadline
    EXPIRED = "expired"  # its time was over before it could be posted


class Reason(StrEnum):
    """Why, as a short code for the ledger. Several reasons can lead to one verdict."""

    ACCEPTED = "accepted"
    GONE = "gone"
    KEY_MISMATCH = "key_mismatch"
    TOO_LARGE = "too_large"
    BAD_REQUEST = "bad_request"
    BAD_TOPIC = "bad_topic"
    REFUSED = "refused"  # another 4xx
    DROPPED = "dropped"  # WNS took the message and dropped it
    SENDER_BLOCKED = "sender_blocked"  # WNS blocks our domain
    RATE_LIMITED = "rate_limited"
    PUSH_SERVICE_ERROR = "push_service_error"
    REDIRECT_REFUSED = "redirect_refused"
    UNEXPECTED_STATUS = "unexpected_status"
    TIMEOUT = "timeout"
    CONNECTION_FAILED = "connection_failed"  # nothing was sent
    CONNECTION_BROKEN = "connection_broken"  # ambiguous: it may have arrived
    DNS_FAILURE = "dns_failure"
    ADDRESS_NOT_PUBLIC = "address_not_public"
    TLS_REFUSED = "tls_refused"
    BAD_ANSWER = "bad_answer"  # it does not speak HTTP
    ENDPOINT_NOT_ALLOWED = "endpoint_not_allowed"
    INVALID_KEYS = "invalid_keys"
    DEADLINE = "deadline"
    INTERNAL_ERROR = "internal_error"


# Not frozen, though nobody changes one: made for each delivery, a frozen one takes three times as long.
@dataclass(slots=True)
class Outcome:
    """What became of one message.

    `status_code` is None when no answer came. `detail` is text for people: at most 200 characters, printable,
    never the endpoint. `retry_after_seconds` is the push service's wish (0: at once; None: none said), of a
    RETRY only. `message_id` is the push service's name for an accepted message. `seconds` is how long the answer
    took, None when none came.
    """

    verdict: Verdict
    reason: Reason
    status_code: int | None = None
    detail: str = ""
    retry_after_seconds: int | None = None
    message_id: str | None = None
    seconds: float | None = field(default=None, compare=False)


_BY_STATUS = {
    400: (Verdict.REJECTED, Reason.BAD_REQUEST),
    401: (Verdict.KEY_MISMATCH, Reason.KEY_MISMATCH),
    403: (Verdict.KEY_MISMATCH, Reason.KEY_MISMATCH),
    404: (Verdict.GONE, Reason.GONE),
    408: (Verdict.RETRY, Reason.TIMEOUT),
    410: (Verdict.GONE, Reason.GONE),
    413: (Verdict.TOO_LARGE, Reason.TOO_LARGE),
    425: (Verdict.RETRY, Reason.RATE_LIMITED),
    429: (Verdict.RETRY, Reason.RATE_LIMITED),
    # A redirect is never followed. These three say "for now", so the same URL may be right again later; the
    # other two say that it never will be, and the browser's next subscription will have the new one.
    302: (Verdict.RETRY, Reason.REDIRECT_REFUSED),
    303: (Verdict.RETRY, Reason.REDIRECT_REFUSED),
    307: (Verdict.RETRY, Reason.REDIRECT_REFUSED),
    301: (Verdict.REJECTED, Reason.REDIRECT_REFUSED),
    308: (Verdict.REJECTED, Reason.REDIRECT_REFUSED),
}

_BY_CLASS = {
    2: (Verdict.ACCEPTED, Reason.ACCEPTED),
    3: (Verdict.REJECTED, Reason.UNEXPECTED_STATUS),
    4: (Verdict.REJECTED, Reason.REFUSED),
    5: (Verdict.RETRY, Reason.PUSH_SERVICE_ERROR),
}
_UNEXPECTED = (Verdict.RETRY, Reason.UNEXPECTED_STATUS)


@dataclass(frozen=True, slots=True)
class _OwnMeaning:
    """One service's own meaning of some statuses, told by a phrase in the body or in an X-WNS header."""

    service: PushServiceKind
    statuses: tuple[int, ...]
    phrase: str
    verdict: Verdict
    reason: Reason
    retry_after_seconds: int | None = None


# Phrases are compared in lower case and without white space. A service of the operator's may be one of these
# behind another name, so for OTHER all of them count. First match wins.
_OWN_MEANINGS = (
    _OwnMeaning(PushServiceKind.APPLE, (400,), "vapidpkhashmismatch", Verdict.KEY_MISMATCH, Reason.KEY_MISMATCH),
    _OwnMeaning(PushServiceKind.APPLE, (400,), "badwebpushtopic", Verdict.REJECTED, Reason.BAD_TOPIC),
    # autopush lost a race with the browser's reconnecting: at once is right.
    _OwnMeaning(PushServiceKind.MOZILLA, (503,), '"errno":202', Verdict.RETRY, Reason.PUSH_SERVICE_ERROR, 0),
    _OwnMeaning(PushServiceKind.WNS, (410,), "domainblocked", Verdict.REJECTED, Reason.SENDER_BLOCKED),
    _OwnMeaning(PushServiceKind.WNS, (406,), "", Verdict.RETRY, Reason.RATE_LIMITED),
    _OwnMeaning(PushServiceKind.WNS, (200, 201, 202), "dropped", Verdict.REJECTED, Reason.DROPPED),
    _OwnMeaning(PushServiceKind.WNS, (200, 201, 202), "channelthrottled", Verdict.RETRY, Reason.RATE_LIMITED),
)
_WNS_TEXTS = dict.fromkeys(("x-wns-status", "x-wns-error-description")).keys()  # in this order
_STATUSES_WITH_OWN_MEANINGS = frozenset(status for row in _OWN_MEANINGS for status in row.statuses)


def judge(
    service: PushServiceKind,
    status_code: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: datetime,
    endpoint: str = "",
    seconds: float | None = None,
) -> Outcome:
    """Return the outcome of an answer, which took so many seconds.

    `headers` may be in any case, `body` as much of it as was read, `now` aware. `endpoint` is only taken out
    of the texts kept: a push service may echo it.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    verdict, reason, wait_seconds = _verdict_on(service, status_code, lower, body)
    if verdict is Verdict.ACCEPTED:
        message_id = message_id_in(lower, endpoint=endpoint)
        return Outcome(verdict, reason, status_code, message_id=message_id, seconds=seconds)
    if verdict is Verdict.RETRY and wait_seconds is None:
        wait_seconds = retry_after_seconds(lower, now=now)
    detail = described(body or _wns_texts(lower).encode(), endpoint=endpoint)
    return Outcome(verdict, reason, status_code, detail, wait_seconds, seconds=seconds)


def _verdict_on(
    service: PushServiceKind, status_code: int, headers: Mapping[str, str], body: bytes
) -> tuple[Verdict, Reason, int | None]:
    has_words = status_code >= 300 or not _WNS_TEXTS.isdisjoint(headers)
    if has_words and status_code in _STATUSES_WITH_OWN_MEANINGS:
        # A 2xx is told by its headers alone: nobody reads the body of a success.
        words = body.decode("utf-8", "replace") if status_code >= 300 else ""
        says = "".join(f"{_wns_texts(headers)} {words}".split()).lower()
        for row in _OWN_MEANINGS:
            is_theirs = service in (row.service, PushServiceKind.OTHER)
            if is_theirs and status_code in row.statuses and row.phrase in says:
                return row.verdict, row.reason, row.retry_after_seconds
    common = _BY_STATUS.get(status_code) or _BY_CLASS.get(status_code // 100, _UNEXPECTED)
    return *common, None


def _wns_texts(headers: Mapping[str, str]) -> str:
    return " ".join(headers[name] for name in _WNS_TEXTS if name in headers)
