"""The declarative form of a payload: Safari shows it by itself, also where no service worker runs any more.

Source: Push API, "Declarative push message"; WebKit since Safari 18.4 (NotificationJSONParser.cpp).
"""

import re
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any

from app.delivery.payload import PublicUrls, payload_fields
from app.models import Notification

WEB_PUSH = 8030  # marks the form, after the RFC
_SHOWN = ("body", "tag", "icon", "image", "badge")
_OURS = ("id", "type", "created_at", "scheduled_at", "url", "data")
_ABSOLUTE = re.compile(r"https?://(?P<host>[\w.-]+)(?::(?P<port>[0-9]{1,5}))?(?:[/?#]\S*)?", re.IGNORECASE)
_LAST_LABEL = re.compile(r"(?:.*\.)?[^\W\d_][\w-]*")  # beginning with a digit, it makes the host an IPv4 address
_MAX_PORT = 65535


def declarative_members(notification: Notification, urls: PublicUrls) -> dict[str, Any] | None:
    """Return the members of the payload, or None when one of its URLs is not absolute.

    Safari drops a message, without a word, that has no address to open or a URL that it cannot read; it would not
    even run the service worker. What the form has no place for is in `notification.data`, ours as well as the
    client's own.
    """
    fields = payload_fields(notification, urls)
    navigate = fields.get("url", urls.site)
    actions = [_action(action, navigate) for action in fields.get("actions", [])]
    if not all(map(is_absolute, _urls_of(fields, navigate, actions))):
        return None
    badge = {"app_badge": fields["app_badge"]} if "app_badge" in fields else {}
    shown = {name: fields[name] for name in _SHOWN if name in fields}
    ours = {name: fields[name] for name in _OURS if name in fields}
    # Safari 18 looks for app_badge and mutable inside of `notification`, the standard and Safari 26 beside it.
    # Only what is mutable runs the service worker, and nothing else can report.
    return {
        "web_push": WEB_PUSH,
        **badge,
        "mutable": True,
        "notification": {
            "title": fields["title"],
            "navigate": navigate,
            **shown,
            **({"actions": actions} if actions else {}),
            **badge,
            "mutable": True,
            "data": ours,
        },
    }


def is_absolute(url: str | None) -> bool:
    """Tell whether this is a web address that every browser can open from anywhere.

    When in doubt it is none, as with passwords and IPv6. Source: WHATWG URL, "host parsing".
    """
    found = _ABSOLUTE.fullmatch(url or "")
    return found is not None and int(found["port"] or 0) <= _MAX_PORT and _is_host(found["host"])


def _is_host(host: str) -> bool:
    try:
        if _LAST_LABEL.fullmatch(host):
            return bool(host.encode("idna"))
        return bool(IPv4Address(host))
    except ValueError:
        return False


def _action(action: Mapping[str, Any], navigate: str | None) -> dict[str, Any]:
    renamed = {name: value for name, value in action.items() if name != "url"}
    return renamed | {"navigate": action.get("url", navigate)}


def _urls_of(fields: Mapping[str, Any], navigate: str | None, actions: list[dict[str, Any]]) -> list[str | None]:
    pictures = [fields[name] for name in ("icon", "image", "badge") if name in fields]
    of_actions = [action[name] for action in actions for name in ("navigate", "icon") if name in action]
    return [navigate, *pictures, *of_actions]
