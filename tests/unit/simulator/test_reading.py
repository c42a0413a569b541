import json
from typing import Any

import pytest

from app.simulator.reading import Unshowable, fields_of
from tests.unit.simulator.sending import ApplicationServer

DECLARATIVE = "application/notification+json"
NOTIFICATION = {"title": "Hello", "navigate": "https://example.com/"}


def declared(*, without: str | None = None, outside: dict[str, Any] | None = None, **changed: Any) -> bytes:
    notification = {name: value for name, value in {**NOTIFICATION, **changed}.items() if name != without}
    return json.dumps({"web_push": 8030, **(outside or {}), "notification": notification}).encode()


def test_both_forms_are_read_alike() -> None:
    classic = {
        "id": "7",
        "title": "Hello",
        "body": "World",
        "url": "https://example.com/",
        "actions": [{"action": "a", "title": "A", "url": "https://example.com/a"}],
        "app_badge": 3,
    }
    declarative = declared(
        outside={"app_badge": 3, "mutable": True},
        body="World",
        actions=[{"action": "a", "title": "A", "navigate": "https://example.com/a"}],
        app_badge=3,
        mutable=True,
        data={"id": "7"},
    )

    assert fields_of(json.dumps(classic).encode(), content_type="application/octet-stream") == classic
    assert fields_of(declarative + b"   ", content_type=DECLARATIVE) == classic


@pytest.mark.parametrize("plaintext", [b"", b"hello", b"[1]", b"\xff", b"[" * 100_000])
def test_what_is_no_object_has_no_fields(plaintext: bytes) -> None:
    assert fields_of(plaintext, content_type=None) == {}


@pytest.mark.parametrize(
    "plaintext",
    [
        b"hello",
        b'{"web_push":8031,"notification":{}}',
        b'{"web_push":8030,"notification":"Hello"}',
        declared(without="title"),
        declared(title=""),
        declared(title=7),
        declared(without="navigate"),
        declared(navigate="/read"),
        declared(navigate="javascript:alert(1)"),
        declared(navigate="https:///nowhere"),
        declared(icon="icon.png"),
        declared(body=7),
        declared(actions=["a"]),
        declared(actions=[{"action": "a", "title": "A"}]),
        declared(actions=[{"action": "a", "title": "A", "navigate": "/a"}]),
        declared(outside={"app_badge": -1}, app_badge=-1),
        declared(outside={"app_badge": 3}),
        declared(outside={"mutable": True}),
    ],
)
def test_what_safari_would_drop_is_unshowable(plaintext: bytes) -> None:
    with pytest.raises(Unshowable):
        fields_of(plaintext, content_type=DECLARATIVE)


def test_a_declarative_message_says_so_in_its_content_type() -> None:
    with pytest.raises(Unshowable, match="Content-Type"):
        fields_of(declared(), content_type="application/octet-stream")


def test_an_unshowable_message_is_accepted_and_counted_but_not_received(server: ApplicationServer) -> None:
    browser = server.subscribe("apple")

    answer = server.post(browser, declared(without="navigate"), headers={"content-type": DECLARATIVE})

    assert answer.status_code == 201
    assert (browser.received, browser.unshowable) == ([], ["navigate is missing"])
    assert server.simulator.counts.unshowable == 1
