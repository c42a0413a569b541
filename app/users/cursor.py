"""The cursor of an export: after which delivery the next page begins. Opaque to clients."""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import UUID

from app.errors import Invalid

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TIME_BYTES, _UUID_BYTES = 8, 16


class InvalidCursor(Invalid):
    code = "invalid-cursor"
    title = "Not a cursor"


@dataclass(frozen=True, slots=True)
class Cursor:
    """The key of a delivery."""

    planned_at: datetime
    notification_id: UUID
    subscription_id: UUID

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the cursor that `str()` wrote. Raises InvalidCursor."""
        try:
            raw = base64.b64decode(text, altchars=b"-_", validate=True)
            if len(raw) != _TIME_BYTES + 2 * _UUID_BYTES:
                raise ValueError
            planned_at = _EPOCH + int.from_bytes(raw[:_TIME_BYTES], "big") * _MICROSECOND
        except (ValueError, OverflowError, binascii.Error):
            raise InvalidCursor("cursor is the next_cursor of the page before, as it was given.") from None
        ids = raw[_TIME_BYTES:]
        return cls(planned_at, UUID(bytes=ids[:_UUID_BYTES]), UUID(bytes=ids[_UUID_BYTES:]))

    def __str__(self) -> str:
        microseconds = (self.planned_at - _EPOCH) // _MICROSECOND
        raw = microseconds.to_bytes(_TIME_BYTES, "big") + self.notification_id.bytes + self.subscription_id.bytes
        return base64.urlsafe_b64encode(raw).decode("ascii")
