import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from app.delivery.forms import SAFE_PLAINTEXT_BYTES, Form, Payloads, bytes_by_field, form_of
from app.delivery.payload import PublicUrls
from app.delivery.token import TOKEN_CHARACTERS
from app.models import Notification
from app.push.endpoint import PushServiceKind
from app.push.message import DECLARATIVE, MAX_PLAINTEXT_BYTES, OCTET_STREAM

ID = "01a20000-0000-7000-8000-000000000001"
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TOKEN = "t" * TOKEN_CHARACTERS
URLS = PublicUrls("https://example.com/", "https://cdn.example.com/")
PAYLOADS = Payloads(URLS)
APPLE, FCM = PushServiceKind.APPLE, PushServiceKind.FCM
EVERYTHING: dict[str, Any] = {
    "icon": "i.png",
    "image": "im.png",
    "badge": "b.png",
    "url": "/read",
    "tag": "blog",
    "actions": [{"action": "a", "title": "A", "icon": "a.png", "url": "/a"}, {"action": "b", "title": "B"}],
    "data": {"receipt": "mine"},
    "scheduled_at": AT,
    "app_badge": 3,
}


def notification(**fields: Any) -> Notification:
    content = {"title": "Title", "body": "Body", "type": "general", "actions": []}
    return Notification(**{"id": UUID(ID), "created_at": AT, **content, **fields})


def plaintext_of(form: Form) -> bytes:
    return form.before + TOKEN.encode() + form.after


def test_the_classic_form_is_flat_and_ends_with_the_receipt() -> None:
    form = PAYLOADS.form_of(notification(**EVERYTHING), FCM)

    assert form.content_type == OCTET_STREAM
    assert list(json.loads(plaintext_of(form)).items()) == [
        ("id", ID),
        ("title", "Title"),
        ("body", "Body"),
        ("type", "general"),
        ("tag", "blog"),
        ("created_at", "2026-01-02T03:04:05+00:00"),
        ("icon", "https://cdn.example.com/i.png"),
        ("image", "https://cdn.example.com/im.png"),
        ("badge", "https://cdn.example.com/b.png"),
        ("url", "https://example.com/read"),
        (
            "actions",
            [
                {
                    "action": "a",
                    "title": "A",
                    "icon": "https://cdn.example.com/a.png",
                    "url": "https://example.com/a",
                },
                {"action": "b", "title": "B"},
            ],
        ),
        ("data", {"receipt": "mine"}),
        ("scheduled_at", "2026-01-02T03:04:05+00:00"),
        ("app_badge", 3),
        ("receipt", TOKEN),
    ]


def test_the_declarative_form_says_it_in_the_standards_words_and_in_those_of_safari_18() -> None:
    form = PAYLOADS.form_of(notification(**EVERYTHING), APPLE)

    assert form.content_type == DECLARATIVE
    assert json.loads(plaintext_of(form)) == {
        "web_push": 8030,
        "app_badge": 3,
        "mutable": True,
        "notification": {
            "title": "Title",
            "navigate": "https://example.com/read",
            "body": "Body",
            "tag": "blog",
            "icon": "https://cdn.example.com/i.png",
            "image": "https://cdn.example.com/im.png",
            "badge": "https://cdn.example.com/b.png",
            "actions": [
                {
                    "action": "a",
                    "title": "A",
                    "icon": "https://cdn.example.com/a.png",
                    "navigate": "https://example.com/a",
                },
                {"action": "b", "title": "B", "navigate": "https://example.com/read"},
            ],
            "app_badge": 3,
            "mutable": True,
            "data": {
                "id": ID,
                "type": "general",
                "created_at": "2026-01-02T03:04:05+00:00",
                "scheduled_at": "2026-01-02T03:04:05+00:00",
                "url": "https://example.com/read",
                "data": {"receipt": "mine"},
                "receipt": TOKEN,
            },
        },
    }


def test_without_a_url_a_click_leads_to_the_site() -> None:
    payload = json.loads(plaintext_of(PAYLOADS.form_of(notification(), APPLE)))

    assert payload["notification"]["navigate"] == "https://example.com/"
    assert payload["notification"].keys() == {"title", "navigate", "body", "tag", "mutable", "data"}


def test_what_does_not_fit_with_safaris_wrapper_any_more_is_sent_in_the_classic_form() -> None:
    asked = notification(body="")
    room = MAX_PLAINTEXT_BYTES - PAYLOADS.form_of(asked, FCM).size

    form = PAYLOADS.form_of(notification(body="x" * room), APPLE)

    assert (form.size, form.content_type) == (MAX_PLAINTEXT_BYTES, OCTET_STREAM)


@pytest.mark.parametrize("service", [each for each in PushServiceKind if each is not APPLE])
def test_only_apples_browsers_get_the_declarative_form(service: PushServiceKind) -> None:
    assert PAYLOADS.form_of(notification(), service).content_type == OCTET_STREAM


@pytest.mark.parametrize(
    ("site", "fields"),
    [
        (None, {}),
        (None, {"url": "/read"}),
        ("www.example.com", {}),
        ("https://", {}),
        (None, {"url": "https://example.com/", "icon": "i.png"}),
        (None, {"url": "https://example.com/", "actions": [{"action": "a", "title": "A", "url": "/a"}]}),
        (None, {"url": "https://example.com/", "actions": [{"action": "a", "title": "A", "icon": "a.png"}]}),
        (None, {"url": "https:///nowhere"}),
        ("https://example.com", {"url": "https://a\\b/"}),
        ("https://example.com", {"url": "https://a%zz/"}),
        (None, {"url": "https://a:65536/"}),
        (None, {"url": "https://1.2.3.256/"}),
        (None, {"url": "https://example.0x1/"}),
        (None, {"url": "https://a..example/"}),
        (None, {"url": "https://[::1]/"}),
    ],
)
def test_what_safari_would_drop_for_its_urls_is_sent_in_the_classic_form(
    site: str | None, fields: dict[str, Any]
) -> None:
    form = Payloads(PublicUrls(site)).form_of(notification(**fields), APPLE)

    assert form == Payloads(PublicUrls(site)).form_of(notification(**fields), FCM)


@pytest.mark.parametrize(
    "url",
    [
        "https://www.example.com",
        "HTTPS://EXAMPLE.COM:8443?a=b%20c#d",
        "http://localhost:8000/read",
        "http://127.0.0.1:8000/read",
        "https://bücher.example/ü",
        "https://under_score.xn--p1ai/",
    ],
)
def test_without_a_site_an_absolute_url_is_enough(url: str) -> None:
    form = Payloads().form_of(notification(url=url), APPLE)

    assert form.content_type == DECLARATIVE


def test_the_declarative_form_can_be_turned_off() -> None:
    payloads = Payloads(URLS, is_declarative=False)

    assert payloads.form_of(notification(), APPLE) == PAYLOADS.form_of(notification(), FCM)
    assert payloads.largest(notification()) == PAYLOADS.classic(notification())


def test_it_is_compact_utf_8_and_what_is_the_senders_own_keeps_its_nulls() -> None:
    plaintext = plaintext_of(PAYLOADS.form_of(notification(title="Grüße ☕", data={"a": [1, None]}), APPLE))

    assert '"title":"Grüße ☕"'.encode() in plaintext
    assert b'"data":{"a":[1,null]}' in plaintext


@pytest.mark.parametrize("service", [APPLE, FCM])
def test_the_bytes_by_field_add_up_to_the_size_the_largest_first(service: PushServiceKind) -> None:
    asked = notification(**EVERYTHING | {"data": {"x": "é" * 500}})
    members = PAYLOADS.largest(asked) if service is APPLE else PAYLOADS.classic(asked)

    sizes = bytes_by_field(members)

    assert sum(sizes.values()) == form_of(members).size == len(plaintext_of(PAYLOADS.form_of(asked, service)))
    assert list(sizes.values()) == sorted(sizes.values(), reverse=True)
    assert next(iter(sizes)) == "data"
    assert sizes["receipt"] == len('"receipt":"",') + TOKEN_CHARACTERS
    assert set(sizes) == {*EVERYTHING, "id", "title", "body", "type", "created_at", "receipt", "wrapper"}


@pytest.mark.parametrize(
    ("size", "padded"),
    [
        (600, SAFE_PLAINTEXT_BYTES),
        (SAFE_PLAINTEXT_BYTES, SAFE_PLAINTEXT_BYTES),
        (SAFE_PLAINTEXT_BYTES + 1, MAX_PLAINTEXT_BYTES),
        (MAX_PLAINTEXT_BYTES, MAX_PLAINTEXT_BYTES),
    ],
)
@pytest.mark.parametrize("service", [APPLE, FCM])
def test_a_padded_message_has_one_of_two_sizes_and_says_the_same(
    service: PushServiceKind, size: int, padded: int
) -> None:
    room = size - PAYLOADS.form_of(notification(body=""), service).size
    asked = notification(body="x" * room)

    plaintext = plaintext_of(Payloads(URLS, is_padded=True).form_of(asked, service))

    assert len(plaintext) == padded
    assert json.loads(plaintext) == json.loads(plaintext_of(PAYLOADS.form_of(asked, service)))


def test_what_is_too_long_is_not_made_longer() -> None:
    asked = notification(body="x" * MAX_PLAINTEXT_BYTES)

    form = Payloads(URLS, is_padded=True).form_of(asked, FCM)

    assert form == PAYLOADS.form_of(asked, FCM)
