"""What each push service demands of a push message; how it words a refusal is in dialects.py.

Sources: RFC 8030, RFC 8291, RFC 8292, and what is known of each service; where a service's own limit is
unknown, the rule is the strict one, so that what passes here passes there.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.simulator.vapid_check import VapidProblem

_DAY_SECONDS = 24 * 3600
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,18}")
_URGENCIES = frozenset({"very-low", "low", "normal", "high"})


class ServiceName(StrEnum):
    """The push services we imitate, by the first segment of their endpoints' paths."""

    FCM = "fcm"
    MOZILLA = "mozilla"
    APPLE = "apple"
    WNS = "wns"


class Refusal(StrEnum):
    """Why a push message is refused, but for its VAPID header."""

    METHOD = "not a POST"
    UNKNOWN = "no such subscription"
    GONE = "unsubscribed"
    TOO_LARGE = "the body is too large"
    ENCODING = "the content encoding is not aes128gcm"
    TTL_MISSING = "no TTL"
    TTL_INVALID = "bad TTL"
    TOPIC = "bad topic"
    URGENCY = "bad urgency"
    CACHE_POLICY = "the cache policy does not go with the TTL"
    CHUNKED = "chunked"


Problem = Refusal | VapidProblem


@dataclass(frozen=True, slots=True)
class ServiceRules:
    """The limits of one push service."""

    max_body_bytes: int
    max_ttl_seconds: int
    clamps_ttl: bool = False  # a longer TTL is shortened, not refused
    needs_positive_ttl: bool = False
    reads_urgency: bool = True
    refuses_lone_topic_character: bool = False
    needs_cache_policy: bool = False
    reads_chunked: bool = True
    strict_subject: bool = False


RULES: Mapping[ServiceName, ServiceRules] = {
    ServiceName.FCM: ServiceRules(max_body_bytes=4096, max_ttl_seconds=28 * _DAY_SECONDS),
    ServiceName.MOZILLA: ServiceRules(
        max_body_bytes=4096, max_ttl_seconds=30 * _DAY_SECONDS, clamps_ttl=True, reads_urgency=False
    ),
    ServiceName.APPLE: ServiceRules(
        max_body_bytes=4096,
        max_ttl_seconds=30 * _DAY_SECONDS,
        clamps_ttl=True,
        needs_positive_ttl=True,
        refuses_lone_topic_character=True,
        strict_subject=True,
    ),
    ServiceName.WNS: ServiceRules(
        max_body_bytes=5000,
        max_ttl_seconds=30 * _DAY_SECONDS,
        clamps_ttl=True,
        reads_urgency=False,
        needs_cache_policy=True,
        reads_chunked=False,
    ),
}


def refusal_of(rules: ServiceRules, headers: Mapping[str, str], body: bytes) -> Refusal | None:
    """Return what is wrong with a push message, its VAPID header left aside."""
    if len(body) > rules.max_body_bytes:
        return Refusal.TOO_LARGE
    if not rules.reads_chunked and "chunked" in headers.get("transfer-encoding", ""):
        return Refusal.CHUNKED
    if body and headers.get("content-encoding") != "aes128gcm":
        return Refusal.ENCODING
    return (
        _refused_ttl(rules, headers)
        or _refused_topic(rules, headers.get("topic"))
        or _refused_urgency(rules, headers.get("urgency"))
    )


def granted_ttl(rules: ServiceRules, headers: Mapping[str, str]) -> int:
    """Return for how many seconds a message that was not refused is kept."""
    return min(int(headers["ttl"]), rules.max_ttl_seconds)


def _refused_ttl(rules: ServiceRules, headers: Mapping[str, str]) -> Refusal | None:
    ttl = headers.get("ttl")
    if ttl is None:
        return Refusal.TTL_MISSING
    if not _WHOLE_NUMBER.fullmatch(ttl):
        return Refusal.TTL_INVALID
    seconds = int(ttl)
    if seconds == 0 and rules.needs_positive_ttl:
        return Refusal.TTL_INVALID
    if seconds > rules.max_ttl_seconds and not rules.clamps_ttl:
        return Refusal.TTL_INVALID
    if rules.needs_cache_policy and headers.get("x-wns-cache-policy") != ("cache" if seconds else "no-cache"):
        return Refusal.CACHE_POLICY
    return None


def _refused_topic(rules: ServiceRules, topic: str | None) -> Refusal | None:
    if topic is None:
        return None
    if not _TOPIC.fullmatch(topic):
        return Refusal.TOPIC
    # Base64url of whole bytes never leaves a single character over.
    if rules.refuses_lone_topic_character and len(topic) % 4 == 1:
        return Refusal.TOPIC
    return None


def _refused_urgency(rules: ServiceRules, urgency: str | None) -> Refusal | None:
    if urgency is None or not rules.reads_urgency or urgency in _URGENCIES:
        return None
    return Refusal.URGENCY
