"""From a push message to the request that the curl sender posts: checked, signed, encrypted."""

from dataclasses import dataclass, field, replace
from typing import Any

from app.push.encryption import encrypt
from app.push.endpoint import CheckedEndpoint, EndpointPolicy, RepeatedCheck
from app.push.message import PushMessage, check_size
from app.push.request import headers_for, ttl_left
from app.push.vapid import VapidSigner

_MAX_KEPT_HEADERS = 256
# An empty value takes out what libcurl would add by itself.
_NOT_SENT = ["Accept:", "Expect:"]


@dataclass(slots=True)
class CurlRequest:
    """One post, as often as it has to be made. `owner` is whom its outcome is for."""

    message: PushMessage
    target: CheckedEndpoint
    headers: list[str]
    body: bytes
    owner: Any = None
    repeats: int = field(default=0)
    after_idle: bool = field(default=False)
    is_without_topic: bool = field(default=False)


class Preparation:
    """Makes requests. The headers of a batch are the same for all its messages, and are made once."""

    def __init__(self, *, policy: EndpointPolicy, signer: VapidSigner) -> None:
        self._endpoints = RepeatedCheck(policy)
        self._signer = signer
        self._kept_headers: dict[tuple[Any, ...], list[str]] = {}

    def target_of(self, message: PushMessage) -> CheckedEndpoint:
        """Return where the message goes. Raises EndpointNotAllowed."""
        return self._endpoints.check(message.endpoint)

    def request_for(self, message: PushMessage, target: CheckedEndpoint, *, now: float) -> CurlRequest:
        """Return the request for a message, encrypted; `now` is time.monotonic().

        Raises PayloadTooLarge, InvalidTopic, InvalidSubscriptionKeys and DeadlinePassed.
        """
        check_size(message)
        headers = self._headers_for(message, target, now=now)
        body = encrypt(message.payload, p256dh=message.p256dh, auth=message.auth) if message.payload else b""
        return CurlRequest(message, target, headers, body)

    def take_out_topic(self, request: CurlRequest, *, now: float) -> None:
        """Change a request into one without the Topic header. Raises DeadlinePassed."""
        request.headers = self._headers_for(replace(request.message, topic=None), request.target, now=now)
        request.is_without_topic = True

    def _headers_for(self, message: PushMessage, target: CheckedEndpoint, *, now: float) -> list[str]:
        authorization = self._signer.authorization(target.origin, message.vapid_key)
        ttl_seconds = ttl_left(message, now=now)
        key = (
            *(authorization, target.service, ttl_seconds),
            *(message.urgency, message.topic, not message.payload),
        )
        headers = self._kept_headers.get(key)
        if headers is None:
            wanted = headers_for(message, target, authorization=authorization, now=now)
            headers = [*(f"{name}: {value}" for name, value in wanted.items()), *_NOT_SENT]
            if "Content-Type" not in wanted:
                headers.append("Content-Type:")
            if len(self._kept_headers) >= _MAX_KEPT_HEADERS:
                self._kept_headers.clear()
            self._kept_headers[key] = headers
        return headers
