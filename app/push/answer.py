"""Reading a push service's answer: Retry-After, the message's id, and what it says, made safe to keep.

Everything here is hostile text: it may be binary, endless, nested, or our own endpoint sent back.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER_SECONDS = 86_400
MAX_DETAIL_CHARACTERS = 200
_MAX_MESSAGE_ID_CHARACTERS = 200

# Long unbroken runs are tokens and URLs: they tell a person nothing, and may be the endpoint.
_LONG_RUN = re.compile(r"[A-Za-z0-9_\-:%./+=~&?]{32,}")
_HTML_TITLE = re.compile(r"<title>([^<]{0,400})</title>", re.IGNORECASE)


def retry_after_seconds(headers: Mapping[str, str], *, now: datetime) -> int | None:
    """Return the wait that Retry-After asks for, from 1 second to a day; None when there is none to be read.

    Source: RFC 9110 section 10.2.3, seconds or an HTTP date.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        # Cut before int(), which refuses thousands of digits.
        wanted = float(value[:12]) if len(value) <= 12 else float(MAX_RETRY_AFTER_SECONDS)
    else:
        try:
            moment = parsedate_to_datetime(value)
            wanted = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds()
        except (ValueError, OverflowError):
            return None
    # Never 0: a service that answers 429 with "Retry-After: 0" must not spin us.
    return int(min(max(wanted, 1), MAX_RETRY_AFTER_SECONDS))


def message_id_in(headers: Mapping[str, str], *, endpoint: str) -> str | None:
    """Return the push service's id for an accepted message: its own header, else Location's last part."""
    found = headers.get("apns-id") or headers.get("x-wns-msg-id") or _last_segment(headers.get("location", ""))
    message_id = _printable(found)[:_MAX_MESSAGE_ID_CHARACTERS]
    return message_id if message_id and message_id not in endpoint else None


def described(body: bytes, *, endpoint: str) -> str:
    """Return what the answer says, for people: one line, at most 200 characters, without the endpoint."""
    text = body.decode("utf-8", errors="replace").strip()
    if text.startswith("{"):
        text = _json_message(text)
    elif text.startswith("<"):
        title = _HTML_TITLE.search(text)
        text = title.group(1) if title else ""
    for secret in (endpoint, _path_of(endpoint)):
        if len(secret) > 1:
            text = text.replace(secret, "[…]")
    line = _LONG_RUN.sub("[…]", _printable(text))
    return line if len(line) <= MAX_DETAIL_CHARACTERS else f"{line[: MAX_DETAIL_CHARACTERS - 1]}…"


def _json_message(text: str) -> str:
    """Return what Apple calls reason, autopush message, and FCM error.message; else the text itself."""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return text
    while isinstance(answer, dict):
        answer = next((answer[name] for name in ("reason", "message", "error") if answer.get(name)), None)
    return answer if isinstance(answer, str) else text


def _last_segment(location: str) -> str:
    # By hand: every accepted message comes here, and urlsplit takes longer than all the rest.
    if "[" in location:  # an address, malformed perhaps; push services have names
        return ""
    _, scheme_end, after_scheme = location.partition("://")
    path = after_scheme.partition("/")[2] if scheme_end else location
    return path.partition("#")[0].partition("?")[0].rpartition("/")[2]


def _path_of(endpoint: str) -> str:
    return endpoint.partition("://")[2].partition("/")[2]


def _printable(text: str) -> str:
    """Return the text on one line. PostgreSQL refuses NUL, UTF-8 lone surrogates; neither is printable."""
    if text.isprintable() and text.isascii() and " " not in text:
        return text
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
