"""What a browser makes of a plaintext: the notification's fields, in either form of a payload.

Declarative messages are read as Safari does, which drops those that it dislikes without a word. Sources: Push API,
"declarative push message parser"; WebKit, NotificationJSONParser.cpp. Where they differ, the stricter one counts.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

_WEB_PUSH = 8030
_DECLARATIVE = "application/notification+json"
_MAX_BADGE = 2**64 - 1
_ADDRESS = re.compile(
    r"https?://(?:[^\s/?#@\\]*@)?(?:[^\s/?#@\\\[\]<>^|%:]+|\[[0-9a-f:.]+\])(?::[0-9]{0,5})?(?:[/?#]\S*)?",
    re.IGNORECASE,
)


class Unshowable(Exception):
    """Safari would drop this message."""


def fields_of(plaintext: bytes, *, content_type: str | None) -> dict[str, Any]:
    """Return the fields of the notification by the names of the classic form; empty when it is not a JSON object.

    Raises Unshowable for a declarative message that is wrong, or is not declared as one.
    """
    try:
        members = json.loads(plaintext)
    except (ValueError, RecursionError):
        members = None
    is_declarative = isinstance(members, dict) and members.get("web_push") == _WEB_PUSH
    if is_declarative != (content_type == _DECLARATIVE):
        raise Unshowable(f"the Content-Type is {content_type}, but web_push says otherwise")
    if is_declarative:
        return _declared(members)
    return members if isinstance(members, dict) else {}


def _declared(members: Mapping[str, Any]) -> dict[str, Any]:
    shown = members.get("notification")
    if not isinstance(shown, dict):
        raise Unshowable("notification is not an object")
    for place in (members, shown):  # Safari 18 reads these two inside, Safari 26 outside
        _check(place, "mutable", lambda value: isinstance(value, bool))
        _check(place, "app_badge", lambda value: type(value) is int and 0 <= value <= _MAX_BADGE)
        if place.get("app_badge") != members.get("app_badge") or place.get("mutable") != members.get("mutable"):
            raise Unshowable("Safari 18 and Safari 26 would not show the same")
    _check(shown, "title", lambda value: isinstance(value, str) and value != "", is_required=True)
    _check(shown, "navigate", _is_address, is_required=True)
    for name in ("body", "tag", "lang"):
        _check(shown, name, lambda value: isinstance(value, str))
    for name in ("icon", "image", "badge"):
        _check(shown, name, _is_address)
    _check(shown, "silent", lambda value: isinstance(value, bool))
    actions = [_action(action) for action in shown.get("actions", [])]
    ours = shown.get("data") or {}
    return {
        **{name: shown[name] for name in ("title", "body", "tag", "icon", "image", "badge") if name in shown},
        **{name: members[name] for name in ("app_badge",) if name in members},
        "url": shown["navigate"],
        **({"actions": actions} if actions else {}),
        **ours,
    }


def _action(action: Any) -> dict[str, Any]:
    if not isinstance(action, dict):
        raise Unshowable("an action is not an object")
    for name in ("action", "title"):
        _check(action, name, lambda value: isinstance(value, str), is_required=True)
    _check(action, "navigate", _is_address, is_required=True)
    _check(action, "icon", _is_address)
    return {("url" if name == "navigate" else name): value for name, value in action.items()}


def _check(
    members: Mapping[str, Any], name: str, holds: Callable[[Any], bool], *, is_required: bool = False
) -> None:
    if name in members:
        if not holds(members[name]):
            raise Unshowable(f"{name} is not what it has to be")
    elif is_required:
        raise Unshowable(f"{name} is missing")


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and _ADDRESS.fullmatch(value) is not None
