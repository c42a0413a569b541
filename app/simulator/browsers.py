"""Simulated browsers: their subscriptions, and what they received, decrypted when somebody looks."""

import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from threading import Condition
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.simulator.decryption import Undecryptable, decrypt
from app.simulator.exchange import HttpVersion
from app.simulator.reading import Unshowable, fields_of
from app.simulator.rules import ServiceName

# As long as the real ones are: endpoints do not fit into 255 characters everywhere.
_TOKEN_PREFIXES: Mapping[ServiceName, Callable[[], str]] = {
    ServiceName.FCM: lambda: f"{secrets.token_urlsafe(8)}:APA91b",
    ServiceName.MOZILLA: lambda: "v2/gAAAAA",
    ServiceName.APPLE: lambda: "Q",
    ServiceName.WNS: lambda: "w/BQYAAA",
}
_TOKEN_BYTES: Mapping[ServiceName, int] = {
    ServiceName.FCM: 100,
    ServiceName.MOZILLA: 130,
    ServiceName.APPLE: 120,
    ServiceName.WNS: 200,
}


class WaitedTooLong(AssertionError):
    """What was waited for did not happen in time."""


@dataclass(frozen=True, slots=True)
class Post:
    """One attempt to send to a browser, whatever became of it; `status` is None when no answer was given."""

    headers: Mapping[str, str]
    http_version: HttpVersion
    status: int | None
    at: float  # Unix time

    @property
    def topic(self) -> str | None:
        """The RFC 8030 Topic header."""
        return self.headers.get("topic")

    @property
    def urgency(self) -> str | None:
        return self.headers.get("urgency")

    @property
    def content_type(self) -> str | None:
        return self.headers.get("content-type")

    @property
    def ttl(self) -> int | None:
        """The TTL header in seconds, as it was sent."""
        ttl = self.headers.get("ttl", "")
        return int(ttl) if ttl.isdecimal() else None


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A push message as the browser's service worker would see it, with the post that brought it."""

    plaintext: bytes
    post: Post

    def json(self) -> Any:
        return json.loads(self.plaintext)

    def fields(self) -> dict[str, Any]:
        """Return the notification's fields by the names of the classic form, whichever the message has."""
        return fields_of(self.plaintext, content_type=self.post.content_type)

    @property
    def headers(self) -> Mapping[str, str]:
        return self.post.headers

    @property
    def ttl(self) -> int | None:
        return self.post.ttl

    @property
    def urgency(self) -> str | None:
        return self.post.urgency

    @property
    def topic(self) -> str | None:
        return self.post.topic


class Browser:
    """One subscription of one browser. Any thread may look at it."""

    def __init__(
        self, service: ServiceName, origin: str, application_server_key: bytes | None, changed: Condition
    ) -> None:
        self.service = service
        self.origin = origin
        self.application_server_key = application_server_key
        token = _TOKEN_PREFIXES[service]() + secrets.token_urlsafe(_TOKEN_BYTES[service])
        self.path = f"/{service}/{token}"
        self.gone_status: Literal[404, 410] | None = None
        self._private_key = ec.generate_private_key(ec.SECP256R1())
        self._auth = secrets.token_bytes(16)
        self._changed = changed
        self._posts: list[Post] = []
        self._encrypted: list[tuple[Post, bytes]] = []
        self._received: list[ReceivedMessage] = []
        self._undecryptable: list[Post] = []
        self._unshowable: list[str] = []

    @property
    def endpoint(self) -> str:
        return self.origin + self.path

    @property
    def subscription(self) -> dict[str, Any]:
        """The subscription as PushSubscription.toJSON() gives it."""
        public_key = self._private_key.public_key()
        return {
            "endpoint": self.endpoint,
            "expirationTime": None,
            "keys": {
                "p256dh": base64url(public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)),
                "auth": base64url(self._auth),
            },
        }

    @property
    def posts(self) -> list[Post]:
        """Every attempt to send to this browser, refused ones included, the oldest first."""
        with self._changed:
            return list(self._posts)

    @property
    def received(self) -> list[ReceivedMessage]:
        """The messages that were accepted, and could be decrypted and shown, the oldest first."""
        with self._changed:
            self._decrypt_what_came()
            return list(self._received)

    @property
    def undecryptable(self) -> list[Post]:
        """The messages that were accepted, and that the browser would drop without a word."""
        with self._changed:
            self._decrypt_what_came()
            return list(self._undecryptable)

    @property
    def unshowable(self) -> list[str]:
        """What was wrong with messages that could be decrypted, and that Safari would drop without a word."""
        with self._changed:
            self._decrypt_what_came()
            return list(self._unshowable)

    @property
    def repeats(self) -> int:
        """How many received messages had come before with the same plaintext."""
        plaintexts = [message.plaintext for message in self.received]
        return len(plaintexts) - len(set(plaintexts))

    def wait_for(self, count: int = 1, *, timeout_seconds: float = 60.0) -> list[ReceivedMessage]:
        """Return the received messages once there are at least `count`; raises WaitedTooLong."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.received) >= count, timeout_seconds):
                statuses = [post.status for post in self._posts]
                raise WaitedTooLong(
                    f"received {len(self._received)} of {count} messages in {timeout_seconds} s; undecryptable: "
                    f"{len(self._undecryptable)}; unshowable: {self._unshowable}; posts were answered {statuses}"
                )
            return list(self._received)

    def unsubscribe(self, *, status: Literal[404, 410] = 410) -> None:
        """Answer every later push message with this status."""
        self.gone_status = status

    def record(self, post: Post, *, accepted_body: bytes | None) -> None:
        """Note an attempt, and the message when it was accepted. The push service's side calls this."""
        with self._changed:
            self._posts.append(post)
            if accepted_body is not None:
                self._encrypted.append((post, accepted_body))

    def _decrypt_what_came(self) -> None:
        for post, body in self._encrypted:
            try:
                # A push message may have no body: then there is nothing to decrypt.
                plaintext = decrypt(body, private_key=self._private_key, auth=self._auth) if body else b""
            except Undecryptable:
                self._undecryptable.append(post)
                continue
            message = ReceivedMessage(plaintext, post)
            try:
                message.fields()
            except Unshowable as error:
                self._unshowable.append(str(error))
            else:
                self._received.append(message)
        self._encrypted.clear()


class Browsers:
    """All simulated browsers of one simulator, found by the path of their endpoints."""

    def __init__(self) -> None:
        self.changed = Condition()
        self._by_path: dict[str, Browser] = {}

    def __iter__(self) -> Iterator[Browser]:
        return iter(list(self._by_path.values()))

    def __len__(self) -> int:
        return len(self._by_path)

    def add(self, service: ServiceName, *, origin: str, application_server_key: str | None) -> Browser:
        """Return a new browser; the key is base64url, None to accept every key.

        Raises ValueError for what pushManager.subscribe() would refuse.
        """
        key = None if application_server_key is None else _point(application_server_key)
        browser = Browser(service, origin, key, self.changed)
        self._by_path[browser.path] = browser
        return browser

    def find(self, path: str) -> Browser | None:
        return self._by_path.get(path)

    def clear(self) -> None:
        self._by_path.clear()


def base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _point(encoded: str) -> bytes:
    """Decode an application server key; raises ValueError unless it is an uncompressed point on P-256."""
    raw = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    if len(raw) != 65:
        raise ValueError("an application server key is an uncompressed P-256 point of 65 bytes, in base64url")
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
    return raw
