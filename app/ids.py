"""Identifiers of rows: UUIDv7, so that what was made later sorts later."""

from uuid import UUID

from uuid_utils import uuid7 as fast_uuid7
from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """Return a new UUIDv7 (RFC 9562 section 5.7)."""
    return uuid7()


def id_prefix() -> str:
    """Return the 15 characters with which the text of a new id begins: its time and its version.

    What follows of a UUID of version 4 makes an id of them.
    """
    return str(fast_uuid7())[:15]
