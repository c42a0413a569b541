"""The forms of a payload: plaintexts that lack nothing but the receipt token, and how large they get.

The classic form is JSON with the spec's names, which a service worker reads and shows. Apple's browsers get the
declarative one, if there can be one; see declarative.py.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from app.delivery.declarative import declarative_members
from app.delivery.payload import PublicUrls, payload_fields
from app.delivery.token import TOKEN_CHARACTERS
from app.models import Notification
from app.push.endpoint import PushServiceKind
from app.push.message import DECLARATIVE, MAX_PLAINTEXT_BYTES, OCTET_STREAM

# What Mozilla's push service hands on to Firefox on Android, by way of FCM: autopush documents about so much.
SAFE_PLAINTEXT_BYTES = 2744

RECEIPT = "receipt"  # the last member of its object, in every form
WRAPPER = "wrapper"  # what a form takes beside the fields


class Form(NamedTuple):
    """A plaintext without its receipt token, which stands between the two parts, and its Content-Type."""

    before: bytes
    after: bytes
    content_type: str

    @property
    def size(self) -> int:
        """How many bytes it has with its token."""
        return len(self.before) + TOKEN_CHARACTERS + len(self.after)

    def padded(self) -> "Form":
        """Return the form with as many spaces at its end as give it one of two sizes. JSON allows them."""
        sizes = (size for size in (SAFE_PLAINTEXT_BYTES, MAX_PLAINTEXT_BYTES) if size >= self.size)
        return self._replace(after=self.after + b" " * (next(sizes, self.size) - self.size))


@dataclass(frozen=True, slots=True)
class Payloads:
    """Makes the plaintexts of a notification, in the way that a process is configured.

    `is_declarative`: Apple's browsers get the declarative form. `is_padded`: the size tells next to nothing.
    """

    urls: PublicUrls = field(default_factory=PublicUrls)
    is_declarative: bool = True
    is_padded: bool = False

    def form_of(self, notification: Notification, service: PushServiceKind) -> Form:
        """Return the form that the browsers of a push service get: compact UTF-8 JSON, without null members."""
        declarative = self._declarative(notification) if service is PushServiceKind.APPLE else None
        form = form_of(declarative or self.classic(notification))
        if declarative is not None and form.size > MAX_PLAINTEXT_BYTES:
            form = form_of(self.classic(notification))  # accepted when SITE_URL was shorter
        return form.padded() if self.is_padded else form

    def classic(self, notification: Notification) -> dict[str, Any]:
        """Return the members of the classic form, the receipt empty."""
        return {**payload_fields(notification, self.urls), RECEIPT: ""}

    def largest(self, notification: Notification) -> dict[str, Any]:
        """Return the members of the largest form that may be sent, the receipt empty."""
        forms = filter(None, (self.classic(notification), self._declarative(notification)))
        return max(forms, key=lambda members: len(_encoded(members)))

    def _declarative(self, notification: Notification) -> dict[str, Any] | None:
        members = declarative_members(notification, self.urls) if self.is_declarative else None
        if members is not None:
            members["notification"]["data"][RECEIPT] = ""
        return members


def form_of(members: Mapping[str, Any]) -> Form:
    """Return the form of members whose last one, however deep, is an empty receipt."""
    before, _, after = _encoded(members).rpartition(b'""')
    return Form(before + b'"', b'"' + after, DECLARATIVE if "web_push" in members else OCTET_STREAM)


def bytes_by_field(members: Mapping[str, Any]) -> dict[str, int]:
    """Return how many bytes each field of a notification takes in a form; together they are its size.

    The largest come first. Two names stand for what is no field: `receipt`, and `wrapper` for all the rest.
    """
    sizes = Counter({RECEIPT: TOKEN_CHARACTERS})
    for name, value in _fields_of(members):
        sizes[name] += len(_encoded({name: value})) - 1
    sizes[WRAPPER] = form_of(members).size - sizes.total()
    return dict(sizes.most_common())


def _fields_of(members: Mapping[str, Any]) -> list[tuple[str, Any]]:
    shown = members.get("notification")
    if shown is None:
        return list(members.items())
    fields = {**shown, "url": shown["navigate"]}
    ours = fields.pop("data")
    for name in ("navigate", "mutable"):
        del fields[name]
    return [*fields.items(), *ours.items()]


def _encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
