"""What a visitor gets to see of what was sent, in a real Chromium."""

import json
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.support.demo_page import send
from tests.support.visitors import Visitor

# Pictures and links lead to the site itself, whose server has a page for every address.
EVERYTHING: dict[str, Any] = {
    "title": "Zoë grüßt 東京 🎉",
    "body": "Ein Ärmel,\nein Öl: „fünf“",
    "type": "greeting",
    "tag": "greetings",
    "icon": "/icon.png",
    "image": "/image.png",
    "badge": "/badge.png",
    "url": "/greeting?from=Zoë",
    "actions": [
        {"action": "reply", "title": "Reply", "icon": "/reply.png", "url": "/reply"},
        {"action": "later", "title": "Later"},
    ],
    "data": {"order": {"number": 7}},
    "app_badge": 3,
}


def everything(visitor: Visitor) -> dict[str, Any]:
    """Return all the fields, their URLs absolute: this service knows of no site."""
    text = json.dumps(EVERYTHING, ensure_ascii=False).replace('"/', f'"{visitor.origin}/')
    fields: dict[str, Any] = json.loads(text)
    return fields


@pytest.mark.parametrize("service", ["fcm", "apple"], ids=["classic", "declarative"])
def test_every_field_is_shown_in_either_form(visitor: Visitor, client: httpx.Client, service: str) -> None:
    subscription_id = visitor.subscribe("blog", service=service)
    fields = everything(visitor)
    send(client, subscription_id, **fields)

    message = visitor.receive()

    alert = visitor.desktop.wait_for(fields["title"])
    assert ("web_push" in message) == (service == "apple")
    assert alert.text.endswith(fields["body"])
    assert {"Reply", "Later"} < set(alert.buttons)
    [shown] = visitor.shown()
    created_at = message.get("created_at") or message["notification"]["data"]["created_at"]
    assert shown.pop("timestamp") == int(datetime.fromisoformat(created_at).timestamp() * 1000)
    assert shown == {
        **{name: fields[name] for name in ("title", "body", "tag", "icon", "image", "badge")},
        "actions": [
            {"action": "reply", "title": "Reply", "icon": f"{visitor.origin}/reply.png"},
            {"action": "later", "title": "Later", "icon": ""},
        ],
        "renotify": True,
        "requireInteraction": False,
        "silent": False,
    }
    assert visitor.look_into("badges") == [3]
    told = visitor.hear("received")
    assert "receipt" not in told["notification"]
    assert told["notification"]["data"] == fields["data"]
    assert told["notification"]["url"] == fields["url"]
    assert told["notification"]["type"] == "greeting"
    assert visitor.look_into("complaints") == []
