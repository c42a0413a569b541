"""What a browser gets: the spec's fields of a notification as JSON, with absolute URLs and a receipt token."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urljoin

from app.delivery.token import TOKEN_CHARACTERS
from app.models import Notification
from app.push.message import topic_for

RECEIPT = "receipt"  # the last member of its object, whatever the form


@dataclass(frozen=True, slots=True)
class PublicUrls:
    """Where relative URLs lead: pages to the site, pictures to the assets (a CDN), else to the site."""

    site: str | None = None
    assets: str | None = None

    def page(self, url: str) -> str:
        return urljoin(self.site, url) if self.site else url

    def picture(self, url: str) -> str:
        base = self.assets or self.site
        return urljoin(base, url) if base else url


class Form(NamedTuple):
    """The plaintext of a notification's push messages but for the receipt token, which stands between the two."""

    before: bytes
    after: bytes

    @property
    def size(self) -> int:
        """How many bytes a message has, its token included."""
        return len(self.before) + TOKEN_CHARACTERS + len(self.after)


@dataclass(frozen=True, slots=True)
class Payloads:
    """Makes what browsers get, in the way that a process is configured."""

    urls: PublicUrls = field(default_factory=PublicUrls)

    def form_of(self, notification: Notification) -> Form:
        """Return the form of a notification: compact UTF-8 JSON, without members that are null."""
        return form_of({**payload_fields(notification, self.urls), RECEIPT: ""})


def form_of(fields: Mapping[str, Any]) -> Form:
    """Return the form of a payload, of which the last member, however deep, is an empty receipt."""
    before, _, after = encoded(fields).rpartition(b'""')
    return Form(before + b'"', b'"' + after)


def payload_fields(notification: Notification, urls: PublicUrls) -> dict[str, Any]:
    """Return the members of the payload. The tag is the notification's own or its id (see topic_of)."""
    pictures = {
        name: urls.picture(value)
        for name in ("icon", "image", "badge")
        if (value := getattr(notification, name)) is not None
    }
    optional = {
        "url": notification.url and urls.page(notification.url),
        "actions": [_action(action, urls) for action in notification.actions] or None,
        "data": notification.data,
        "scheduled_at": notification.scheduled_at and notification.scheduled_at.isoformat(),
    }
    return {
        "id": str(notification.id),
        "title": notification.title,
        "body": notification.body,
        "type": notification.type,
        "tag": tag_of(notification),
        "created_at": notification.created_at.isoformat(),
        **pictures,
        **{name: value for name, value in optional.items() if value is not None},
    }


def tag_of(notification: Notification) -> str:
    """Return what a repeat replaces on screen: the notification's tag, or its id."""
    return notification.tag or str(notification.id)


def topic_of(notification: Notification) -> str:
    """Return the RFC 8030 Topic, by which a push service replaces what it has not delivered yet."""
    return topic_for(notification.collapse_key or tag_of(notification))


def bytes_by_field(fields: Mapping[str, Any]) -> dict[str, int]:
    """Return how many bytes each member takes in the payload, the largest first."""
    sizes = {name: len(encoded({name: value})) - 1 for name, value in fields.items()}
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _action(action: Mapping[str, Any], urls: PublicUrls) -> dict[str, Any]:
    shown = {name: value for name, value in action.items() if value is not None}
    if "icon" in shown:
        shown["icon"] = urls.picture(shown["icon"])
    return shown
