"""Identifiers of rows: UUIDv7, so that what was made later sorts later."""

from uuid import UUID

from uuid_utils import uuid7 as fast_uuid7
from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """Return a new UUIDv7 (RFC 9562 section 5.7)."""
    return uuid7()


def new_ids(count: int) -> list[str]:
    """Return so many new ids as text, for rows that are written by the thousand."""
    return [str(fast_uuid7()) for _ in range(count)]
