"""The push message: what one browser is to get, with everything a sender needs to know about it."""

import base64
import hashlib
from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum

from app.push.keys import VapidKey

# RFC 8291 section 4: one record of 4,096 bytes, less 86 of header, 16 of tag and 1 of delimiter.
MAX_PLAINTEXT_BYTES = 3993

# The Content-Types of a push message. What is declared with the second, a browser may show by itself: WebKit's
# explainer of Declarative Web Push asks for it; the standard goes by the JSON alone.
OCTET_STREAM = "application/octet-stream"
DECLARATIVE = "application/notification+json"


class Urgency(StrEnum):
    """RFC 8030 section 5.3."""

    VERY_LOW = "very-low"
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


# Not frozen, though nobody changes one: made for each delivery, a frozen one takes three times as long.
@dataclass(slots=True)
class PushMessage:
    """One message to one subscription.

    `p256dh` and `auth` are base64url as stored, `payload` is the plaintext (at most MAX_PLAINTEXT_BYTES; none
    sends an empty push) and `content_type` says what it is, `topic` is the RFC 8030 Topic (see topic_for),
    `vapid_key` the one the subscription was made with. At `expires_at`, by time.monotonic(), it is too late to post
    it; until then its TTL is cut to what is left. `ref` is the caller's own: it comes back beside the outcome, and
    nothing here looks at it.
    """

    endpoint: str
    p256dh: str
    auth: str
    payload: bytes
    vapid_key: VapidKey
    ttl_seconds: int
    urgency: Urgency = Urgency.NORMAL
    topic: str | None = None
    content_type: str = OCTET_STREAM
    expires_at: float | None = None
    ref: Hashable = None

    def __repr__(self) -> str:
        # An endpoint and its keys are secrets, and a repr ends in logs.
        return f"PushMessage(ref={self.ref!r}, {len(self.payload)} bytes)"


class PayloadTooLarge(ValueError):
    """A payload does not fit into one record."""


def check_size(message: PushMessage) -> None:
    """Raise PayloadTooLarge unless the payload fits into one record."""
    if len(message.payload) > MAX_PLAINTEXT_BYTES:
        raise PayloadTooLarge(f"the payload has more than {MAX_PLAINTEXT_BYTES} bytes")


def topic_for(collapse_key: str) -> str:
    """Return the RFC 8030 Topic of a collapse key: 32 base64url characters of its hash.

    Always 32, because Apple refuses some lengths, and because a key may hold characters that a Topic may not.
    """
    digest = hashlib.sha256(collapse_key.encode("utf-8")).digest()
    return base64.urlsafe_b64encode(digest[:24]).decode("ascii")
