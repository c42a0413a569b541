"""The main job, in a real Firefox: it subscribes on /demo, a client with an API key sends, the browser shows it.

The page is the product's own, and the tests press its buttons. What is shown is read from the notification's
window and from the service worker's getNotifications().
"""

from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx
import pytest
import pywebpush

from app.push.keys import VapidKey
from tests.support.autopush import DELIVERED, AutopushServer, Post
from tests.support.bidi import Browser
from tests.support.demo_page import (
    NOTIFICATIONS,
    SUBSCRIPTION,
    TICKED,
    ReceiptsOf,
    Subscriber,
    example_of,
    get,
    only_delivery_of,
    send,
    tick,
    unsubscribe,
    visit,
    wait_until_delivered,
)

SUBSCRIBE_UNDER = """navigator.serviceWorker.ready
    .then(({ pushManager }) => pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key }))
    .then((subscription) => subscription.toJSON())"""
LISTED_TITLES = "[...document.querySelectorAll('#pushes h3')].map((heading) => heading.textContent)"


def only_post_to(autopush: AutopushServer, endpoint: str) -> Post:
    [post] = [post for post in autopush.journal.posts if post.url == endpoint]
    return post


def test_a_notification_sent_through_the_api_is_shown(
    page: Browser, subscriber: Subscriber, client: httpx.Client, autopush: AutopushServer
) -> None:
    result = send(client, subscriber.id, title="Zoë grüßt 東京 🎉", body="Ein Ärmel, ein Öl: „fünf“ — здравствуй")

    alert = page.wait_for_alert("Zoë grüßt 東京 🎉")
    assert alert.text == "Ein Ärmel, ein Öl: „fünf“ — здравствуй"
    assert page.evaluate(NOTIFICATIONS) == [
        {"title": alert.title, "body": alert.text, "tag": result["notification_id"]}
    ]
    page.wait_for(f"{LISTED_TITLES}.includes(title)", title=alert.title)
    post = only_post_to(autopush, subscriber.endpoint)
    assert post.version is not None
    assert autopush.wait_for_ack(post.version).code == DELIVERED
    assert post.version not in [nack["version"] for nack in autopush.journal.nacks]


def test_what_became_of_it_is_recorded(
    page: Browser, subscriber: Subscriber, client: httpx.Client, receipts_of: ReceiptsOf
) -> None:
    before = get(client, f"/subscriptions/{subscriber.id}/")
    result = send(client, subscriber.id, title="For the record", body="")
    page.wait_for_alert("For the record")

    delivery = wait_until_delivered(client, result["notification_id"])
    notification = get(client, f"/notifications/{result['notification_id']}/")
    after = get(client, f"/subscriptions/{subscriber.id}/")

    counts = {"pending": 0, "sent": 0, "delivered": 1, "failed": 0, "expired": 0}
    delivered_at = datetime.fromisoformat(delivery["delivered_at"])
    assert (result["targeted"], result["sent"] + result["delivered"]) == (1, 1)  # the receipt may be faster
    assert {name: notification[name] for name in counts} == counts
    assert (notification["status"], notification["title"]) == ("sent", "For the record")
    assert (delivery["response_code"], delivery["reason"], delivery["error_message"]) == (201, None, None)
    assert delivery["subscription_id"] == subscriber.id
    assert datetime.fromisoformat(notification["created_at"]) <= delivered_at <= datetime.now(UTC)
    displayed = {event: receipt.occurred_at for event, receipt in receipts_of(notification["id"]).items()}
    assert displayed == {"displayed": delivered_at}
    assert before["last_used"] is None
    assert after["last_used"] is not None


def test_a_payload_of_three_kilobytes_arrives_whole(
    page: Browser, subscriber: Subscriber, client: httpx.Client, autopush: AutopushServer
) -> None:
    body = "Ünïcödé, " * 260  # 13 bytes each

    send(client, subscriber.id, title="Three kilobytes", body=body)

    alert = page.wait_for_alert("Three kilobytes")
    assert alert.text == f"{body[:200]}…"
    assert page.evaluate(NOTIFICATIONS)[0]["body"] == body
    assert len(only_post_to(autopush, subscriber.endpoint).body) > 3 * 1024


@pytest.mark.usefixtures("subscriber")
def test_the_example_on_the_page_reaches_the_browser_that_shows_it(page: Browser, client: httpx.Client) -> None:
    answer = client.post("/notifications/send/", json=example_of(page))

    assert answer.status_code == 200
    assert page.wait_for_alert("Hello").text == "It works."


def test_a_click_on_the_notification_opens_its_url(
    page: Browser, subscriber: Subscriber, client: httpx.Client, origin: str
) -> None:
    send(client, subscriber.id, title="Read on", body="", url="/demo?read=on")

    page.click_alert(page.wait_for_alert("Read on"))

    page.wait_for_tab(f"{origin}/demo?read=on")
    assert page.evaluate(NOTIFICATIONS) == []


def test_a_click_on_the_notification_leads_to_the_tab_that_is_open(
    page: Browser, subscriber: Subscriber, client: httpx.Client, origin: str
) -> None:
    send(client, subscriber.id, title="Look here", body="", url="/demo")
    page.click_alert(page.wait_for_alert("Look here"))

    page.wait_for("document.querySelector('#pushes [data-step=answered]').dataset.done === 'true'")

    assert page.tabs() == [f"{origin}/demo"]


def test_a_push_that_cannot_be_read_is_shown_all_the_same(page: Browser, origin: str) -> None:
    key = VapidKey.generate()
    subscription = page.evaluate(SUBSCRIBE_UNDER, key=key.public)

    pywebpush.webpush(
        subscription,
        "not JSON",
        vapid_private_key=key.export_private(),
        vapid_claims={"sub": "mailto:test@example.org"},
        ttl=60,
    )

    assert page.wait_for_alert("New notification").text == f"There is news on {urlsplit(origin).netloc}."
    page.wait_for(f"{LISTED_TITLES}.includes('New notification')")


def test_another_key_than_the_subscriptions_is_refused_and_recorded(
    page: Browser, client: httpx.Client, autopush: AutopushServer
) -> None:
    subscription = page.evaluate(SUBSCRIBE_UNDER, key=VapidKey.generate().public)
    stored = client.post("/subscriptions/", json=subscription).json()

    result = send(client, stored["id"], title="Never shown", body="")

    delivery = only_delivery_of(client, result["notification_id"])
    post = only_post_to(autopush, subscription["endpoint"])
    assert (post.status, post.errno) == (401, 109)
    assert (result["sent"], result["failed"]) == (0, 1)
    assert (delivery["status"], delivery["response_code"]) == ("failed", 401)
    assert delivery["reason"] == "key_mismatch"
    assert page.evaluate(NOTIFICATIONS) == []
    assert get(client, f"/subscriptions/{stored['id']}/")["enabled"] is True


def test_the_page_takes_its_subscription_up_again_after_a_reload(
    page: Browser, subscriber: Subscriber, client: httpx.Client, origin: str
) -> None:
    tick(page, "releases")

    visit(page, origin, until_it_is="on")

    assert example_of(page)["subscription_ids"] == [subscriber.id]
    assert page.evaluate(TICKED) == ["blog", "releases"]
    assert get(client, f"/subscriptions/{subscriber.id}/")["topics"] == ["blog", "releases"]


def test_turning_off_ends_the_subscription_here_and_there(
    page: Browser, subscriber: Subscriber, client: httpx.Client, autopush: AutopushServer
) -> None:
    unsubscribe(page)

    assert page.evaluate(SUBSCRIPTION) is None
    assert client.get(f"/subscriptions/{subscriber.id}/").status_code == 404
    autopush.wait_for(
        lambda journal: not journal.channels[subscriber.endpoint].is_registered, "the end of the subscription"
    )
