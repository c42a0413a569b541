"""The demo page in a browser: what is read from it, and what the service's API tells of what it was sent."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from app.models import Receipt
from tests.support.bidi import Browser
from tests.support.waiting import until

STATE = "document.querySelector('#status').dataset.state"
IS_IDLE = "document.querySelector('main').ariaBusy !== 'true'"
TICKED = "[...document.querySelectorAll('#topics :checked')].map((box) => box.value)"
SUBSCRIPTION = """navigator.serviceWorker.ready
    .then(({ pushManager }) => pushManager.getSubscription())"""
NOTIFICATIONS = """navigator.serviceWorker.ready
    .then((registration) => registration.getNotifications())
    .then((shown) => shown.map(({ title, body, tag }) => ({ title, body, tag })))"""


# The receipts of a notification with one recipient, by event.
ReceiptsOf = Callable[[str], dict[str, Receipt]]


@dataclass(frozen=True)
class Subscriber:
    """The browser after "Turn on notifications": the id that the page's example names, and its endpoint."""

    id: str
    endpoint: str


def visit(browser: Browser, site: str, *, until_it_is: str) -> None:
    """Open the demo page of this origin, and wait for the state."""
    browser.open(f"{site}/demo")
    browser.wait_for(f"{STATE} === state && {IS_IDLE}", state=until_it_is)


def subscribe(page: Browser) -> Subscriber:
    page.click("#subscribe")
    page.wait_for(f"{STATE} === 'on' && {IS_IDLE}")
    return subscriber_of(page)


def unsubscribe(page: Browser) -> None:
    page.click("#unsubscribe")
    page.wait_for(f"{STATE} === 'off' && {IS_IDLE}")


def tick(page: Browser, topic: str) -> None:
    """Tick a topic, or not any more, and wait until that is saved."""
    page.click(f"input[value={topic}]")
    page.wait_for(IS_IDLE)


def subscriber_of(page: Browser) -> Subscriber:
    return Subscriber(example_of(page)["subscription_ids"][0], page.evaluate(SUBSCRIPTION)["endpoint"])


def example_of(page: Browser) -> dict[str, Any]:
    """Return the body of the curl command that the page shows for a send to this browser."""
    command = page.evaluate("document.querySelector('#to-browser').textContent")
    found = re.search(r"-d '(.*)'$", command)
    assert found is not None, command
    body: dict[str, Any] = json.loads(found[1])
    return body


def send(client: httpx.Client, subscription_id: str, **notification: Any) -> dict[str, Any]:
    answer = client.post("/notifications/send/", json=notification | {"subscription_ids": [subscription_id]})
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def get(client: httpx.Client, path: str) -> dict[str, Any]:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def only_delivery_of(client: httpx.Client, notification_id: str) -> dict[str, Any]:
    [delivery] = get(client, f"/notifications/{notification_id}/deliveries/")["items"]
    found: dict[str, Any] = delivery
    return found


def wait_until_delivered(client: httpx.Client, notification_id: str) -> dict[str, Any]:
    """Return the only delivery once the browser has reported that it showed the notification."""
    until(
        lambda: only_delivery_of(client, notification_id)["status"] == "delivered",
        f"the receipt of {notification_id}",
    )
    return only_delivery_of(client, notification_id)
