"""Push messages that nobody should have sent, in a real Chromium: each shows something, and none breaks the worker.

A browser ends the subscription of a site whose pushes show nothing.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.api import LiveServer
from tests.support.chromium import Chromium
from tests.support.visitors import Visitor

SUBSTITUTE = "New notification"
WRONG: list[Any] = [None, 0, -1.5, True, "", [], {}, [[]], {"toString": 1}]
FIELDS = (
    "body",
    "type",
    "tag",
    "icon",
    "image",
    "badge",
    "url",
    "actions",
    "data",
    "created_at",
    "app_badge",
    "receipt",
)
UNREADABLE = {
    "none at all": "",
    "spaces": "   ",
    "text": "Hello",
    "cut off": '{"title":"Hel',
    "of another shape": '[["title","Hello"]]',
    "null": "null",
    "a number": "8030",
    "without a title": '{"url":"/news"}',
    "a title that is none": '{"title":{"toString":null}}',
    "declarative without a notification": '{"web_push":8030}',
    "declarative with a list": '{"web_push":8030,"notification":[1,2]}',
    "deep": "[" * 1900 + "]" * 1900,
}
READABLE = {
    **{f"each field {value!r}": dict.fromkeys(FIELDS, value) for value in WRONG},
    "URLs of scripts": dict.fromkeys(("icon", "image", "badge", "url"), "javascript:alert(1)"),
    "URLs of files": dict.fromkeys(("icon", "image", "badge", "url"), "file:///etc/passwd"),
    "URLs that are none": dict.fromkeys(("icon", "image", "badge", "url"), "http://["),
    "actions of every kind": {"actions": [None, 1, [], {}, {"action": 1, "title": "x"}, {"action": "a"}]},
    "fifty actions": {"actions": [{"action": f"a{number}", "title": "x"} for number in range(50)]},
    "the same action twice": {"actions": [{"action": "a", "title": "x"}] * 2},
    "names of a prototype": {
        "__proto__": {"title": 1, "polluted": 1},
        "constructor": {"prototype": {"polluted": 1}},
    },
    "a time that never was": {"created_at": "2026-02-31T99:00:00Z", "scheduled_at": "soon"},
    "numbers beyond all": {"app_badge": 1e300, "created_at": 1e300},
    "text that is no Unicode": {"body": "\ud800"},
    "control characters": {"body": "\x1b[31m\x07\u202egnp.exe", "tag": "\x1b"},
    "the longest there is": {"body": "x" * 3900},
    "data that claims to be ours": {"data": {"pushNotificationService": {"receipt": 1, "actions": 7}}},
}


@pytest.fixture(scope="module")
def visitor(chromium: Chromium, origins: Iterator[str], server: LiveServer) -> Iterator[Visitor]:
    arrived = Visitor(chromium, next(origins), service=server.url)
    arrived.register()
    yield arrived
    chromium.tidy_up()


def deliver(visitor: Visitor, message: str, title: str) -> dict[str, Any]:
    """Return what a message shows, when nothing else is on screen."""
    visitor.start_over()
    visitor.deliver(message)
    visitor.desktop.wait_for(title)
    [shown] = visitor.shown()
    return shown


@pytest.mark.parametrize("message", UNREADABLE.values(), ids=UNREADABLE)
def test_a_push_that_cannot_be_read_says_that_there_is_news(visitor: Visitor, message: str) -> None:
    shown = deliver(visitor, message, SUBSTITUTE)

    assert shown["body"].startswith("There is news on site")
    assert visitor.look_into("complaints") == []


@pytest.mark.parametrize("fields", READABLE.values(), ids=READABLE)
def test_what_can_be_read_of_a_broken_push_is_shown(visitor: Visitor, fields: dict[str, Any]) -> None:
    deliver(visitor, json.dumps({"title": "Readable", **fields}), "Readable")

    assert visitor.worker.evaluate("({}).polluted ?? null") is None
    assert visitor.look_into("complaints") == []


@pytest.mark.parametrize("fields", READABLE.values(), ids=READABLE)
def test_the_same_within_a_declarative_push(visitor: Visitor, fields: dict[str, Any]) -> None:
    deliver(visitor, json.dumps({"web_push": 8030, "notification": {"title": "Readable", **fields}}), "Readable")

    assert visitor.look_into("complaints") == []
