"""Types for what clients send as text or JSON: nothing that PostgreSQL or a browser cannot hold.

Use them in request schemas instead of `str` and `dict[str, Any]`; add lengths with `Field(max_length=...)`.
"""

import math
from typing import Annotated, Any

from pydantic import AfterValidator, Field

MAX_JSON_DEPTH = 20


def refuse_unstorable_text(value: str) -> str:
    """Return the text as it is. Raises ValueError on a NUL character or half of a surrogate pair."""
    if "\x00" in value:
        raise ValueError("must not contain a NUL character")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must be valid Unicode (it contains half of a surrogate pair)")
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
