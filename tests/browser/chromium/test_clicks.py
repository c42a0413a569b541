"""Where a click on a notification leads, in a real Chromium, which opens a window only for a real click."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.api import LiveServer, make_token
from tests.support.chromium import Chromium
from tests.support.visitors import Visitor
from tests.support.waiting import until
from tests.support.website import Website

SHOW_ONE_OF_THE_SITES_OWN = 'registration.showNotification("Own", { tag: "own", data: { url: "/own" } })'


@pytest.fixture(scope="module")
def friend(website: Website) -> str:
    """Another site, where clicks may lead."""
    return website.origins[-1]


@pytest.fixture(scope="module")
def subscribed_visitor(
    chromium: Chromium, origins: Iterator[str], server: LiveServer, friend: str
) -> Iterator[Visitor]:
    token = make_token(user_id="clicker")
    arrived = Visitor(chromium, next(origins), service=server.url, token=token, friend=friend)
    arrived.subscribe()
    yield arrived
    chromium.tidy_up()


@pytest.fixture
def visitor(subscribed_visitor: Visitor) -> Visitor:
    """In one tab, at the site's first page."""
    subscribed_visitor.start_over()
    return subscribed_visitor


def receive(visitor: Visitor, **fields: Any) -> None:
    message = {"id": "1", "title": "News", "body": "", "type": "general", "tag": "1", **fields}
    visitor.deliver(json.dumps(message))


def test_a_click_opens_the_url_and_ends_the_notification(visitor: Visitor) -> None:
    receive(visitor, url="/news?page=2#top")

    visitor.desktop.click(visitor.desktop.wait_for("News"))

    visitor.wait_for_tab(f"{visitor.origin}/news?page=2#top")
    assert visitor.hear("clicked").get("action") is None
    assert visitor.desktop.shown == []
    assert visitor.look_into("complaints") == []


def test_a_click_focuses_the_tab_that_shows_the_url_and_every_tab_hears_of_it(visitor: Visitor) -> None:
    news, other = visitor.open("/news"), visitor.open("/other")
    receive(visitor, url="/news", data={"number": 7})
    tabs = visitor.tabs

    visitor.desktop.click(visitor.desktop.wait_for("News"))

    heard = [visitor.hear("clicked", tab) for tab in (visitor.page, news, other)]
    assert [each["notification"]["data"] for each in heard] == [{"number": 7}] * 3
    until(lambda: visitor.look_into("focused"), "the focus")
    assert visitor.look_into("focused") == [news.url]
    assert visitor.tabs == tabs


@pytest.mark.parametrize(("button", "path"), [("Read", "/read"), ("Later", "/news")])
def test_a_button_leads_to_its_own_url_if_it_has_one(visitor: Visitor, button: str, path: str) -> None:
    actions = [{"action": "read", "title": "Read", "url": "/read"}, {"action": "later", "title": "Later"}]
    receive(visitor, url="/news", actions=actions)

    visitor.desktop.click(visitor.desktop.wait_for("News"), button)

    visitor.wait_for_tab(visitor.origin + path)
    assert visitor.hear("clicked")["action"] == button.lower()


def test_a_click_may_lead_to_a_site_that_is_allowed(visitor: Visitor, friend: str) -> None:
    receive(visitor, url=f"{friend}/offer")

    visitor.desktop.click(visitor.desktop.wait_for("News"))

    visitor.wait_for_tab(f"{friend}/offer")


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(document.domain)",
        "data:text/html,<script>alert(1)</script>",
        "//evil.localhost/",
        "http://{host}.evil.localhost/",
        "http://{host}@evil.localhost/",
        "http:\\\\evil.localhost",
        "blob:http://{host}/1",
        "\t//evil.localhost",
    ],
)
def test_a_click_on_any_other_leads_to_the_sites_first_page(visitor: Visitor, url: str) -> None:
    receive(visitor, url=url.format(host=visitor.origin.removeprefix("http://")))
    tabs = visitor.tabs

    visitor.desktop.click(visitor.desktop.wait_for("News"))

    until(lambda: visitor.look_into("focused"), "the focus")
    assert visitor.look_into("focused") == [visitor.page.url]
    assert visitor.tabs == tabs


def test_a_notification_of_the_sites_own_is_left_to_the_site(visitor: Visitor) -> None:
    visitor.worker.evaluate(SHOW_ONE_OF_THE_SITES_OWN)
    visitor.desktop.click(visitor.desktop.wait_for("Own"))

    receive(visitor, url="/news")
    visitor.desktop.click(visitor.desktop.wait_for("News"))

    visitor.wait_for_tab(f"{visitor.origin}/news")
    assert visitor.hear("clicked")["notification"]["title"] == "News"
    assert "Own" in [shown["title"] for shown in visitor.shown()]
