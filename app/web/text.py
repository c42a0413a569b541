"""Types for what clients send as text, JSON or time: nothing that PostgreSQL or a browser cannot hold.

Use them in request schemas instead of `str`, `dict[str, Any]` and `datetime`; add lengths with
`Field(max_length=...)`.
"""

import math
import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

MAX_JSON_DEPTH = 20
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def refuse_unstorable_text(value: str) -> str:
    """Return the text as it is. Raises ValueError on a NUL character or half of a surrogate pair."""
    if "\x00" in value:
        raise ValueError("must not contain a NUL character")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must be valid Unicode (it contains half of a surrogate pair)")
    return value


def refuse_unprintable_text(value: str, longest: int) -> str:
    """Return the line as it is. Raises ValueError when it is empty, too long or not all printable."""
    refuse_unstorable_text(value)
    if not 1 <= len(value) <= longest or not value.isprintable():
        raise ValueError(f"must have 1 to {longest} printable characters")
    return value


def refuse_unstorable_json(value: dict[str, Any]) -> dict[str, Any]:
    """Return the object as it is. Raises ValueError on NUL, lone surrogates, NaN, Infinity or deep nesting."""
    remaining: list[tuple[Any, int]] = [(value, 1)]
    while remaining:
        item, depth = remaining.pop()
        if depth > MAX_JSON_DEPTH:
            raise ValueError(f"must not be nested deeper than {MAX_JSON_DEPTH} levels")
        if isinstance(item, dict):
            remaining += [(part, depth + 1) for pair in item.items() for part in pair]
        elif isinstance(item, list):
            remaining += [(part, depth + 1) for part in item]
        elif isinstance(item, str):
            refuse_unstorable_text(item)
        elif isinstance(item, float) and not math.isfinite(item):
            raise ValueError("must not contain NaN or Infinity")
    return value


def _refuse_numbers(value: Any) -> Any:
    # pydantic would read a number, and a text of digits, as seconds since 1970.
    if isinstance(value, datetime) or (isinstance(value, str) and _DATE.match(value)):
        return value
    raise ValueError("must be a date and time like 2026-01-31T12:00:00Z (RFC 3339)")


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside of the calendar") from None


def _refuse_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


PlainText = Annotated[
    str, AfterValidator(refuse_unstorable_text), Field(json_schema_extra={"pattern": r"^[^\u0000]*$"})
]
"""Text without NUL and without lone surrogates."""

NonBlankText = Annotated[PlainText, Field(min_length=1), AfterValidator(_refuse_blank)]
"""PlainText with at least one character that is not white space."""

JsonObject = Annotated[dict[str, Any], AfterValidator(refuse_unstorable_json)]
"""A JSON object of bounded depth that PostgreSQL's jsonb and every browser can read."""

Instant = Annotated[AwareDatetime, BeforeValidator(_refuse_numbers), AfterValidator(_in_utc)]
"""A moment as RFC 3339 text with its offset, kept in UTC: PostgreSQL refuses offsets that Python and JSON allow."""
