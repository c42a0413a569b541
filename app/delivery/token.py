"""The receipt token: whoever has it may say what became of one delivery, without any other login.

It travels inside the encrypted push message, so only the browser that was sent to can know it. It is 80 characters
of base64url: a version, the delivery's key in the ledger, when the token ends, and a keyed BLAKE2b (RFC 7693).
"""

import base64
import binascii
import hmac
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from uuid import UUID

TOKEN_CHARACTERS = 80
KEY_BYTES = 32
# A message may be shown on the last day of its TTL, be clicked after a weekend, and be reported when online again.
GRACE = timedelta(days=14)

_VERSION = b"\x01"
_MAC_BYTES = 15
_SIGNED = struct.Struct(">c16s16sqI")  # version, notification, subscription, planned at (us), expires at (s)
_END = struct.Struct(">qI")
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class InvalidToken(ValueError):
    """Not a token of ours: forged, damaged, or signed under another SECRET_KEY."""


class ExpiredToken(InvalidToken):
    """A token of ours whose time is over."""


@dataclass(frozen=True, slots=True)
class DeliveryKey:
    """Which delivery a token is about: its primary key in the ledger."""

    planned_at: datetime
    notification_id: UUID
    subscription_id: UUID


class ReceiptTokens:
    """Makes and reads tokens under a key of KEY_BYTES bytes."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(
        self, notification_id: UUID, planned_at: datetime, ttl_seconds: int, subscription_ids: Iterable[str]
    ) -> list[bytes]:
        """Return the tokens of a notification's deliveries, in the order of the subscriptions' ids.

        They are the same whenever they are made: a repeated message does not give the right to report twice.
        """
        expires_at = planned_at + timedelta(seconds=ttl_seconds) + GRACE
        head = _VERSION + notification_id.bytes
        end = _END.pack((planned_at - _EPOCH) // _MICROSECOND, int(expires_at.timestamp()))
        key, from_hex = self._key, bytes.fromhex
        tokens = []
        # For every delivery: a call of a function of our own here would cost as much as the hash.
        for subscription_id in subscription_ids:
            signed = head + from_hex(subscription_id.replace("-", "")) + end
            mac = blake2b(signed, digest_size=_MAC_BYTES, key=key).digest()
            tokens.append(base64.urlsafe_b64encode(signed + mac))
        return tokens

    def read(self, token: str, *, now: datetime) -> DeliveryKey:
        """Return which delivery the token is about. Raises InvalidToken, ExpiredToken."""
        if len(token) != TOKEN_CHARACTERS:
            raise InvalidToken("not a receipt token")
        try:
            raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            raise InvalidToken("not a receipt token") from None
        signed, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        expected = blake2b(signed, digest_size=_MAC_BYTES, key=self._key).digest()
        if not hmac.compare_digest(mac, expected):
            raise InvalidToken("not a receipt token of this service")
        _, notification_id, subscription_id, planned_at, expires_at = _SIGNED.unpack(signed)
        if now.timestamp() >= expires_at:
            raise ExpiredToken("the receipt token's time is over")
        return DeliveryKey(
            _EPOCH + planned_at * _MICROSECOND, UUID(bytes=notification_id), UUID(bytes=subscription_id)
        )
