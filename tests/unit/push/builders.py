"""Push messages and keys for these tests. The browser's keys are those of RFC 8291, appendix A."""

from datetime import UTC, datetime

from app.push.keys import VapidKey
from app.push.message import OCTET_STREAM, PushMessage, Urgency

P256DH = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
SENDER_PUBLIC = "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8"
SENDER_PRIVATE = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
VAPID_KEY = VapidKey.load(SENDER_PRIVATE)
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def a_message(
    endpoint: str = "https://fcm.googleapis.com/fcm/send/abc",
    *,
    p256dh: str = P256DH,
    auth: str = AUTH,
    payload: bytes = b"When I grow up, I want to be a watermelon",
    ttl_seconds: int = 60,
    urgency: Urgency = Urgency.NORMAL,
    topic: str | None = None,
    content_type: str = OCTET_STREAM,
    expires_at: float | None = None,
    ref: object = None,
) -> PushMessage:
    return PushMessage(
        endpoint=endpoint,
        p256dh=p256dh,
        auth=auth,
        payload=payload,
        vapid_key=VAPID_KEY,
        ttl_seconds=ttl_seconds,
        urgency=urgency,
        topic=topic,
        content_type=content_type,
        expires_at=expires_at,
        ref=ref,
    )
