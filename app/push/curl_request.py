"""From a push message to the request that the curl sender posts: checked, signed, encrypted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.push.encryption import Plain, encrypt, encrypt_all
from app.push.endpoint import CheckedEndpoint, EndpointPolicy, RepeatedCheck
from app.push.message import MAX_PLAINTEXT_BYTES, PayloadTooLarge, PushMessage, check_size
from app.push.request import headers_for
from app.push.vapid import VapidSigner

Body = bytes | Exception  # encrypted, or why it could not be

_MAX_KEPT_HEADERS = 256
_KEPT_SECONDS = 60.0  # then the signer is asked again, which renews its own in time
# An empty value takes out what libcurl would add by itself.
_NOT_SENT = ["Accept:", "Expect:"]


@dataclass(slots=True)
class CurlRequest:
    """One post, as often as it has to be made.

    `owner` is whom its outcome is for, `host` where it is under way.
    """

    message: PushMessage
    target: CheckedEndpoint
    headers: list[str]
    body: bytes
    owner: Any = None
    host: Any = None
    repeats: int = 0
    after_idle: bool = False
    is_without_topic: bool = False


class Preparation:
    """Makes requests. The headers of a batch are the same for all its messages, and are made once.

    Equal headers are one list, also those of two batches: a handle that carried it before need not be told it anew.
    """

    def __init__(self, *, policy: EndpointPolicy, signer: VapidSigner) -> None:
        self._endpoints = RepeatedCheck(policy)
        self._signer = signer
        self._kept_headers: dict[tuple[Any, ...], tuple[list[str], float]] = {}  # and until when
        self._lists: dict[tuple[str, ...], list[str]] = {}

    def target_of(self, message: PushMessage) -> CheckedEndpoint:
        """Return where the message goes. Raises EndpointNotAllowed."""
        return self._endpoints.check(message.endpoint)

    def bodies_of(self, messages: Sequence[PushMessage]) -> list[Body]:
        """Return the encrypted bodies of messages, each empty for an empty payload, or why there is none."""
        encrypted = iter(_encrypted([message for message in messages if _is_encrypted(message)]))
        return [next(encrypted) if _is_encrypted(message) else _unencrypted(message) for message in messages]

    def request_for(self, message: PushMessage, body: Body, target: CheckedEndpoint, *, now: float) -> CurlRequest:
        """Return the request for a message; `now` is time.monotonic().

        Raises what there is instead of a body, InvalidTopic and DeadlinePassed.
        """
        if isinstance(body, Exception):
            raise body
        return CurlRequest(message, target, self._headers_for(message, target, now=now), body)

    def take_out_topic(self, request: CurlRequest, *, now: float) -> None:
        """Change a request into one without the Topic header. Raises DeadlinePassed."""
        request.headers = self._headers_for(replace(request.message, topic=None), request.target, now=now)
        request.is_without_topic = True

    def _headers_for(self, message: PushMessage, target: CheckedEndpoint, *, now: float) -> list[str]:
        key = (
            *(target.origin, target.service, message.vapid_key.public, message.urgency, message.topic),
            *(message.ttl_seconds, message.expires_at, message.content_type, not message.payload),
        )
        kept = self._kept_headers.get(key)
        if kept is not None and now < kept[1]:
            return kept[0]
        authorization = self._signer.authorization(target.origin, message.vapid_key)
        wanted = headers_for(message, target, authorization=authorization, now=now)
        headers = [*(f"{name}: {value}" for name, value in wanted.items()), *_NOT_SENT]
        if "Content-Type" not in wanted:
            headers.append("Content-Type:")
        if len(self._kept_headers) >= _MAX_KEPT_HEADERS:
            self._kept_headers.clear()
        if len(self._lists) >= _MAX_KEPT_HEADERS:
            self._lists.clear()
        headers = self._lists.setdefault(tuple(headers), headers)
        self._kept_headers[key] = headers, now + _seconds_unchanged(message, now=now)
        return headers


def _seconds_unchanged(message: PushMessage, *, now: float) -> float:
    """Return how long the headers stay as they are: until the TTL, in whole seconds, is cut again."""
    return _KEPT_SECONDS if message.expires_at is None else (message.expires_at - now) % 1.0


def _is_encrypted(message: PushMessage) -> bool:
    return 0 < len(message.payload) <= MAX_PLAINTEXT_BYTES


def _unencrypted(message: PushMessage) -> Body:
    try:
        check_size(message)
    except PayloadTooLarge as error:
        return error
    return b""


def _encrypted(messages: Sequence[PushMessage]) -> Sequence[Body]:
    plains = [Plain(message.payload, message.p256dh, message.auth) for message in messages]
    try:
        return encrypt_all(plains)
    except Exception:  # one of them is odd in a way that nobody foresaw; the others are not to suffer
        return [_body_or_error(plain) for plain in plains]


def _body_or_error(plain: Plain) -> Body:
    try:
        return encrypt(plain.payload, p256dh=plain.p256dh, auth=plain.auth)
    except Exception as error:
        return error
