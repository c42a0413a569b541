"""What a browser gets: the spec's fields of a notification, with absolute URLs. How they are sent is forms.py's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from app.models import Notification
from app.push.message import topic_for


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


def payload_fields(notification: Notification, urls: PublicUrls) -> dict[str, Any]:
    """Return the fields by the spec's names, without those that are null.

    The tag is the notification's own or its id (see topic_of).
    """
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
        "app_badge": notification.app_badge,
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


def _action(action: Mapping[str, Any], urls: PublicUrls) -> dict[str, Any]:
    shown = {name: value for name, value in action.items() if value is not None}
    if "icon" in shown:
        shown["icon"] = urls.picture(shown["icon"])
    if "url" in shown:
        shown["url"] = urls.page(shown["url"])
    return shown
