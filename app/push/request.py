"""What a push request carries beside its body: the headers of RFC 8030, and one push service's extra wishes."""

from app.push.endpoint import CheckedEndpoint, PushServiceKind
from app.push.message import PushMessage

USER_AGENT = "push-notification-service"
# FCM refuses more than 28 days; the others keep a message up to 30.
MAX_TTL_SECONDS = 28 * 24 * 3600
_TOPIC_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


class InvalidTopic(ValueError):
    """A Topic is not 1 to 32 characters of base64url; sent on, it could even carry a header of its own."""


class DeadlinePassed(Exception):
    """A message's time is over: it is not posted any more."""


def headers_for(message: PushMessage, target: CheckedEndpoint, *, authorization: str, now: float) -> dict[str, str]:
    """Return the request's headers, Topic included when there is one; `now` is time.monotonic().

    Raises InvalidTopic and DeadlinePassed.
    """
    ttl_seconds = ttl_on_the_wire(ttl_left(message, now=now), target.service)
    headers = {"Authorization": authorization, "TTL": str(ttl_seconds), "Urgency": str(message.urgency)}
    if message.payload:
        headers["Content-Encoding"] = "aes128gcm"
        headers["Content-Type"] = message.content_type
    if message.topic is not None:
        if not 0 < len(message.topic) <= 32 or not _TOPIC_CHARACTERS.issuperset(message.topic):
            raise InvalidTopic("a Topic is 1 to 32 characters of base64url")
        headers["Topic"] = message.topic
    if target.service is PushServiceKind.WNS:
        # WNS answers 400 when this and the TTL contradict each other.
        headers["X-WNS-Cache-Policy"] = "no-cache" if ttl_seconds == 0 else "cache"
    return headers


def ttl_left(message: PushMessage, *, now: float) -> int:
    """Return the TTL in whole seconds, cut to what is left until the message expires; 0 stays 0, now or never.

    `now` is time.monotonic(). Raises DeadlinePassed.
    """
    if message.expires_at is None:
        return int(message.ttl_seconds)
    if now >= message.expires_at:
        raise DeadlinePassed("the message's time is over")
    return int(min(message.ttl_seconds, max(message.expires_at - now, 1)))


def ttl_on_the_wire(ttl_seconds: int, service: PushServiceKind) -> int:
    """Return the TTL that a push service takes: whole seconds, at most 28 days, for Apple at least one second."""
    lowest = 1 if service is PushServiceKind.APPLE else 0
    return min(max(int(ttl_seconds), lowest), MAX_TTL_SECONDS)
