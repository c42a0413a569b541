"""Somebody who visits a site in Chromium: what pages and service worker do, and what is shown of it."""

import json
from collections import Counter
from typing import Any

from playwright.sync_api import Page, Worker

from app.simulator import Browser
from tests.support.chromium import Chromium
from tests.support.desktop import Desktop
from tests.support.outbox import KEPT
from tests.support.waiting import until

# What a notification is made of, but for `data`, which is the service worker's own.
SHOWN = """async () => (await self.registration.getNotifications()).map((shown) => {
  const { title, body, icon, image, badge, tag, timestamp, renotify, requireInteraction, silent, actions } = shown;
  return { title, body, icon, image, badge, tag, timestamp, renotify, requireInteraction, silent,
           actions: actions.map(({ action, title, icon }) => ({ action, title, icon })) };
})"""
REGISTER = """(script) => navigator.serviceWorker.register(script).then(() => navigator.serviceWorker.ready)
    .then((registration) => registration.scope)"""


class Visitor:
    """Is at `origin`, in the tab `page`.

    `service` is our service's URL, `token` what the site gives for it, `friend` an origin that clicks may open.
    """

    def __init__(self, chromium: Chromium, origin: str, *, service: str, token: str = "", friend: str = "") -> None:
        self._chromium = chromium
        self._fragment = f"#service={service}&token={token}&friend={friend}"
        self._service = service
        self._taken: Counter[str] = Counter()  # messages, by the endpoint
        self.origin = origin
        self.page = self.open("/")

    @property
    def desktop(self) -> Desktop:
        return self._chromium.desktop

    @property
    def _vendors(self) -> Browser:
        return self._chromium.subscribed[self.origin].browser

    @property
    def worker(self) -> Worker:
        return self._chromium.worker_of(self.origin)

    def wait_for_tab(self, url: str) -> Page:
        """Return the tab with this address, of whatever site, once there is one."""
        until(lambda: self._chromium.tab_at(url), f"a tab at {url}")
        found = self._chromium.tab_at(url)
        assert found is not None
        return found

    @property
    def tabs(self) -> int:
        """How many tabs are open, of whatever site."""
        return len(self._chromium.context.pages)

    def open(self, address: str) -> Page:
        """Visit a page of the site in a tab of its own."""
        return self._chromium.visit(self.origin, address + self._fragment)

    def register(self) -> None:
        """Have the site's service worker run, without a subscription."""
        self.page.evaluate(REGISTER, f"/service-worker.js?service={self._service}")

    def subscribe(self, *topics: str, service: str = "fcm") -> str:
        """Turn notifications on, and return the subscription's id. `service` is whom the vendor's plays."""
        self._chromium.services[self.origin] = service
        status = self.page.evaluate("(topics) => push.subscribe({ topics })", list(topics))
        assert status["state"] == "on", status
        found: str = status["id"]
        return found

    def receive(self) -> dict[str, Any]:
        """Wait for the next push message at the vendor's push service, have it delivered, and return it."""
        self._taken[self._vendors.endpoint] += 1
        return self.receive_again()

    def receive_again(self) -> dict[str, Any]:
        """Have the last push message delivered once more, and return it."""
        count = self._taken[self._vendors.endpoint]
        plaintext = self._vendors.wait_for(count)[count - 1].plaintext.decode()
        self.deliver(plaintext)
        message: dict[str, Any] = json.loads(plaintext)
        return message

    def hear(self, kind: str, tab: Page | None = None) -> dict[str, Any]:
        """Return the first of a kind that the service worker tells a tab, or this one; wait for it."""
        found = (tab or self.page).wait_for_function(
            "(kind) => heard.find((message) => message.kind === kind)", arg=kind
        )
        message: dict[str, Any] = found.json_value()
        return message

    def deliver(self, message: str) -> None:
        self._chromium.deliver(self.origin, message)

    def shown(self) -> list[dict[str, Any]]:
        """What the browser says is shown, member by member.

        Chromium forgets what is just being shown when it is asked: wait for it on the desktop before.
        """
        found: list[dict[str, Any]] = self.worker.evaluate(SHOWN)
        return found

    def start_over(self) -> None:
        """Wipe the desktop, close all tabs but the first, and forget what was heard and focused."""
        self._chromium.tidy_up(but=self.page)
        until(lambda: not self.shown(), "an empty screen")
        self.page.evaluate("heard.length = 0")
        self.worker.evaluate("focused.length = 0")

    def wait_until_kept(self, events: list[str]) -> None:
        """Wait until the receipts of just these events are kept in the browser, to be sent later."""
        until(lambda: self.page.evaluate(KEPT) == events, f"receipts of {events} in the browser")

    def look_into(self, name: str) -> list[Any]:
        """Return what the service worker noted: its `complaints`, `badges`, or what it `focused`."""
        noted: list[Any] = self.worker.evaluate(f"self.{name}")
        return noted
