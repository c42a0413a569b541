"""The push messages of a claimed batch."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy.orm import Session

from app.delivery.claim import Work
from app.delivery.forms import Form, Payloads
from app.delivery.payload import topic_of
from app.delivery.recipients import Recipient
from app.delivery.token import ReceiptTokens
from app.keyring.service import Keyring
from app.push.endpoint import PushServiceKind, is_loopback_host, service_at
from app.push.keys import VapidKey
from app.push.message import PushMessage, Urgency


def key_pairs_of(session: Session, keyring: Keyring, work: Work | None) -> dict[str, VapidKey]:
    """Return the VAPID keys of a claimed batch by their id as text. Raises CannotUnseal."""
    key_ids = {recipient.vapid_key_id for recipient in work.recipients} if work else ()
    found = keyring.key_pairs(session, {UUID(key_id) for key_id in key_ids})
    return {str(key_id): key_pair for key_id, key_pair in found.items()}


def messages_of(
    work: Work,
    payloads: Payloads,
    *,
    receipt_tokens: ReceiptTokens,
    key_pairs: Mapping[str, VapidKey],
    claimed_at: float,
) -> list[PushMessage]:
    """Return what is to be posted in this turn. `claimed_at` is when it was claimed, by time.monotonic().

    A delivery's message is the same in every turn: all but its receipt token is that of the notification.
    """
    notification = work.notification
    urgency, topic, ttl_seconds = Urgency(notification.urgency), topic_of(notification), notification.ttl_seconds
    recipients = work.recipients[: work.turn.messages]
    tokens = receipt_tokens.make(
        notification.id, work.planned_at, ttl_seconds, [recipient.subscription_id for recipient in recipients]
    )
    forms = _forms_of(work, recipients, payloads)
    return [
        PushMessage(
            endpoint=endpoint,
            p256dh=p256dh,
            auth=auth,
            payload=before + token + after,
            vapid_key=key_pairs[vapid_key_id],
            ttl_seconds=ttl_seconds,
            urgency=urgency,
            topic=topic,
            content_type=content_type,
            expires_at=claimed_at + seconds_left,
            ref=subscription_id,
        )
        for (subscription_id, endpoint, p256dh, auth, vapid_key_id, seconds_left, _, _), token, (
            before,
            after,
            content_type,
        ) in zip(recipients, tokens, forms, strict=True)
    ]


def _forms_of(work: Work, recipients: Sequence[Recipient], payloads: Payloads) -> Iterable[Form]:
    """Return the form of each recipient's message. A batch has one host, and but for loopback one push service."""
    host = work.lane.endpoint_host
    if not is_loopback_host(urlsplit(f"//{host}").hostname or ""):
        return repeat(payloads.form_of(work.notification, service_at(host)), len(recipients))
    # There a simulator plays them all, and says by the path which.
    apple = payloads.form_of(work.notification, PushServiceKind.APPLE)
    other = payloads.form_of(work.notification, PushServiceKind.OTHER)
    path = f"://{host}/{PushServiceKind.APPLE}/"
    return [apple if path in recipient.endpoint else other for recipient in recipients]
