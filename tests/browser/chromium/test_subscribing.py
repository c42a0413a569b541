"""A page of another origin than the service's turns notifications on and off, in a real Chromium.

All is real but Google's push service: the SDK from the service, CORS, and what the service stores.
"""

from typing import Any

import pytest

from tests.support.api import make_token
from tests.support.demo_page import get, send
from tests.support.visitors import Visitor

ON = {"state": "on", "permission": "granted"}


def status_of(visitor: Visitor) -> dict[str, Any]:
    status: dict[str, Any] = visitor.page.evaluate("push.status()")
    return status


def come_back(visitor: Visitor) -> dict[str, Any]:
    """Visit the site anew, and return the status there."""
    visitor.page.reload()
    visitor.page.evaluate("ready")
    return status_of(visitor)


def receives(visitor: Visitor, client: Any, subscription_id: str, title: str) -> bool:
    send(client, subscription_id, title=title, body="")
    visitor.receive()
    return visitor.desktop.wait_for(title).title == title


def test_on_topics_and_off(visitor, client, chromium):
    assert status_of(visitor) == {"state": "off", "permission": "granted", "topics": [], "id": None}

    subscription_id = visitor.subscribe("blog")
    changed = visitor.page.evaluate("push.setTopics(['news', 'sport'])")
    stored = get(client, f"/subscriptions/{subscription_id}/")
    vendors = chromium.subscribed[visitor.origin].browser
    ended = visitor.page.evaluate("push.unsubscribe()")

    assert changed == {**ON, "topics": ["news", "sport"], "id": subscription_id}
    assert stored["topics"] == ["news", "sport"]
    assert stored["endpoint"] == vendors.endpoint
    assert (ended["state"], ended["id"]) == ("off", None)
    assert vendors.gone_status == 410
    assert client.get(f"/subscriptions/{subscription_id}/").status_code == 404


def test_a_rotation_moves_people_over_at_their_next_visit(visitor, client, rotate_keys):
    subscription_id = visitor.subscribe("blog")
    rotate_keys()
    assert receives(visitor, client, subscription_id, "Still under the old key")

    status = come_back(visitor)

    assert status == {**ON, "topics": ["blog"], "id": subscription_id, "repaired": "key-changed"}
    assert receives(visitor, client, subscription_id, "Under the new key")
    assert "repaired" not in come_back(visitor)


@pytest.mark.parametrize(("forgetful", "repaired"), [("browser", "vanished"), ("service", "forgotten")])
def test_a_subscription_that_one_side_forgot_is_there_again_at_the_next_visit(
    visitor, client, chromium, forgetful, repaired
):
    before = visitor.subscribe("blog")
    if forgetful == "browser":
        del chromium.subscribed[visitor.origin]
    else:
        client.delete(f"/subscriptions/{before}/")

    status = come_back(visitor)

    assert (status["state"], status["topics"], status["repaired"]) == ("on", ["blog"], repaired)
    assert (status["id"] == before) == (forgetful == "browser")
    assert receives(visitor, client, status["id"], f"After the {forgetful} forgot")


def test_who_is_nobody_by_name_has_a_subscription_of_their_own(chromium, origins, server, client):
    visitor = Visitor(chromium, next(origins), service=server.url, token=make_token(push_anonymous=True))
    subscription_id = visitor.subscribe("blog")

    visitor.page.evaluate("push.setTopics(['news'])")
    stored = get(client, f"/subscriptions/{subscription_id}/")
    visitor.page.evaluate("push.unsubscribe()")

    assert (stored["user_id"], stored["topics"]) == (None, ["news"])
    assert client.get(f"/subscriptions/{subscription_id}/").status_code == 404
    chromium.tidy_up()


def test_a_site_that_the_service_does_not_list_gets_no_answer_and_no_subscription(chromium, website, server):
    stranger = website.origins[0].replace("//site0.", "//stranger.")
    visitor = Visitor(chromium, stranger, service=server.url, token=make_token(user_id="stranger"))

    code = visitor.page.evaluate("push.subscribe().catch((error) => error.code)")

    assert code == "offline"
    assert stranger not in chromium.subscribed
    chromium.tidy_up()
