"""Request headers of the calls that send: Idempotency-Key, X-Give-Up-At and Prefer. And the key in a path.

Sources: draft-ietf-httpapi-idempotency-key-header, RFC 7240.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from pydantic import BeforeValidator, WithJsonSchema

from app.errors import Invalid
from app.web.text import Instant

MAX_KEY_LENGTH = 255
RESPOND_ASYNC = "respond-async"

_PRINTABLE_ASCII = "^[ -~]+$"
_UNIX_SECONDS = re.compile(r"\d{1,11}(\.\d{1,9})?")
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')  # a String of RFC 8941
_LIST_MEMBER = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*"?)+')


class InvalidIdempotencyKey(Invalid):
    code = "invalid-idempotency-key"
    title = "The Idempotency-Key cannot be used"


class InvalidGiveUpAt(Invalid):
    code = "invalid-give-up-at"
    title = "The X-Give-Up-At cannot be used"


def _from_unix_seconds(value: Any) -> Any:
    if isinstance(value, str) and _UNIX_SECONDS.fullmatch(value.strip()):
        return datetime.fromtimestamp(float(value), UTC)
    return value


# Told by the document, checked by read_key: it says of each what is wrong, once.
KeyText = Annotated[str, WithJsonSchema({"type": "string", "minLength": 1, "pattern": _PRINTABLE_ASCII})]
_Deadline = Annotated[
    Instant,
    BeforeValidator(_from_unix_seconds),
    WithJsonSchema({"type": "string", "examples": ["2026-01-31T12:00:00Z", "1769860800"]}),
]


def read_key(text: str) -> str:
    """Return the key that stands in a header or a path: without its quotes. Raises InvalidIdempotencyKey."""
    key = text
    if text.startswith('"'):
        quoted = _QUOTED.fullmatch(text)
        if quoted is None:
            raise InvalidIdempotencyKey("An Idempotency-Key that begins with a quote has to end with it.")
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    if not 1 <= len(key) <= MAX_KEY_LENGTH or not re.fullmatch(_PRINTABLE_ASCII, key):
        raise InvalidIdempotencyKey(f"An Idempotency-Key has 1 to {MAX_KEY_LENGTH} printable ASCII characters.")
    return key


def get_idempotency_key(
    request: Request,
    header: Annotated[
        KeyText | None,
        Header(
            alias="Idempotency-Key",
            description="Names this send, for 7 days: the same key and body again is answered as the first time and"
            f" sends nothing. 1 to {MAX_KEY_LENGTH} printable ASCII characters, in double quotes or without.",
        ),
    ] = None,
) -> str | None:
    """Return the key without its quotes; None without the header. Raises InvalidIdempotencyKey."""
    if header is None:
        return None
    if len(request.headers.getlist("idempotency-key")) > 1:
        raise InvalidIdempotencyKey("Send one Idempotency-Key, not several.")
    return read_key(header.strip())


def get_give_up_at(
    request: Request,
    header: Annotated[
        _Deadline | None,
        Header(
            alias="X-Give-Up-At",
            description="When the caller stops waiting: from then on, by the database's clock, this is not begun"
            " any more (412). A time as RFC 3339 has it, with its offset, or Unix seconds.",
        ),
    ] = None,
) -> datetime | None:
    """Return the time, None without the header. Raises InvalidGiveUpAt."""
    if len(request.headers.getlist("x-give-up-at")) > 1:
        raise InvalidGiveUpAt("Send one X-Give-Up-At, not several.")
    return header


def prefers_async(
    request: Request,
    header: Annotated[
        str | None,
        Header(alias="Prefer", description="`respond-async`: 202 at once, and the workers send (RFC 7240)."),
    ] = None,
) -> bool:
    """Return whether the caller wants its answer at once. Preferences that we do not know are ignored."""
    return header is not None and is_preferred(RESPOND_ASYNC, request.headers.getlist("prefer"))


IdempotencyKeyDep = Annotated[str | None, Depends(get_idempotency_key)]
GiveUpAtDep = Annotated[datetime | None, Depends(get_give_up_at)]
PrefersAsyncDep = Annotated[bool, Depends(prefers_async)]


def is_preferred(preference: str, headers: Iterable[str]) -> bool:
    """Return whether a preference without a value is among those in these Prefer headers.

    Source: RFC 7240 section 2: a list, over several headers or in one; names in any case, parameters after a
    semicolon, and an empty value is none.
    """
    for member in (each for header in headers for each in _LIST_MEMBER.findall(header)):
        name, _, value = member.partition(";")[0].partition("=")
        if name.strip().lower() == preference and value.strip() in {"", '""'}:
            return True
    return False
