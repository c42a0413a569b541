from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from app.delivery.payload import PublicUrls, payload_fields, tag_of, topic_of
from app.models import Notification
from app.push.message import topic_for

ID = UUID("01a20000-0000-7000-8000-000000000001")
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SITE = "https://example.com/app/"
NO_URLS = PublicUrls()
BOTH_URLS = PublicUrls(SITE, "https://cdn.example.com/img/")


def notification(**fields: Any) -> Notification:
    content = {"title": "Title", "body": "Body", "type": "general", "actions": []}
    return Notification(**{"id": ID, "created_at": AT, **content, **fields})


def test_the_least_there_is_has_no_nulls() -> None:
    assert payload_fields(notification(), NO_URLS) == {
        "id": str(ID),
        "title": "Title",
        "body": "Body",
        "type": "general",
        "tag": str(ID),
        "created_at": "2026-01-02T03:04:05+00:00",
    }


def test_what_is_empty_or_zero_is_something() -> None:
    fields = payload_fields(notification(body="", data={}, app_badge=0), NO_URLS)

    assert (fields["body"], fields["data"], fields["app_badge"]) == ("", {}, 0)


@pytest.mark.parametrize(
    ("urls", "url", "shown"),
    [
        (BOTH_URLS, "/blog/1", "https://example.com/blog/1"),
        (BOTH_URLS, "blog/1?a=b#c", "https://example.com/app/blog/1?a=b#c"),
        (BOTH_URLS, "?page=2", "https://example.com/app/?page=2"),
        (BOTH_URLS, "https://other.example/x", "https://other.example/x"),
        (BOTH_URLS, "//other.example/x", "https://other.example/x"),
        (NO_URLS, "/blog/1", "/blog/1"),
    ],
)
def test_a_page_is_relative_to_the_site(urls: PublicUrls, url: str, shown: str) -> None:
    assert payload_fields(notification(url=url), urls)["url"] == shown


@pytest.mark.parametrize(
    ("urls", "shown"),
    [
        (BOTH_URLS, "https://cdn.example.com/img/a.png"),
        (PublicUrls("https://example.com/app/"), "https://example.com/app/a.png"),
        (NO_URLS, "a.png"),
    ],
)
@pytest.mark.parametrize("name", ["icon", "image", "badge"])
def test_a_picture_is_relative_to_the_assets_else_to_the_site(urls: PublicUrls, shown: str, name: str) -> None:
    assert payload_fields(notification(**{name: "a.png"}), urls)[name] == shown


def test_actions_have_no_nulls_and_absolute_urls() -> None:
    actions = [
        {"action": "a", "title": "A", "icon": "a.png", "url": "a?b"},
        {"action": "b", "title": "B", "icon": None, "url": None},
    ]

    assert payload_fields(notification(actions=actions), BOTH_URLS)["actions"] == [
        {"action": "a", "title": "A", "icon": "https://cdn.example.com/img/a.png", "url": f"{SITE}a?b"},
        {"action": "b", "title": "B"},
    ]


def test_a_repeat_replaces_by_tag_and_collapse_key_and_by_the_id_when_there_is_neither() -> None:
    assert tag_of(notification()) == str(ID)
    assert tag_of(notification(tag="score")) == "score"
    assert topic_of(notification()) == topic_for(str(ID))
    assert topic_of(notification(tag="score")) == topic_for("score")
    assert topic_of(notification(tag="score", collapse_key="match")) == topic_for("match")
