"""A real Chromium for tests: headless, a fresh profile, no traffic but loopback, driven by Playwright.

Push messages come in through DevTools, as Google's service, which Chromium subscribes at, is out of reach. What it
shows appears on the tests' own desktop, where it is clicked.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, CDPSession, Page, Worker, sync_playwright

from app.simulator import Browser, Simulator
from tests.support.desktop import Desktop
from tests.support.waiting import DEADLINE_SECONDS, until
from tests.support.website import FILES

TIMEOUT_MILLISECONDS = 1000 * DEADLINE_SECONDS

# A proxy where nobody listens for all but loopback, and no name is looked up: updates, Google's services and all
# else reach nothing.
QUIET = [
    "--proxy-server=127.0.0.1:9",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE *.localhost, EXCLUDE 127.0.0.1",
    "--no-pings",
]


def find_chromium() -> str | None:
    """Return Chromium's path, where it shows notifications over D-Bus. A snap's cannot use our directories."""
    found = shutil.which("chromium")
    return found if found and sys.platform == "linux" and "snap" not in Path(found).parts else None


class Subscribed(NamedTuple):
    """A site's push subscription, and the application server key (base64url) that it is bound to."""

    key: str
    browser: Browser


class Chromium:
    """Runs from `with` to its end; `home` must be an empty directory.

    One profile serves all tests, as Chromium leads clicks on notifications to the first one only: a test has a site
    of its own instead.
    """

    def __init__(self, binary: str, home: Path, desktop: Desktop, vendor: Simulator) -> None:
        self._binary = binary
        self._home = home
        self.desktop = desktop
        self._vendor = vendor
        self.subscribed: dict[str, Subscribed] = {}  # by origin
        self.console: list[str] = []
        self.services: dict[str, str] = {}  # which push service the vendor's plays for an origin, if not Google's
        self._registrations: dict[str, str] = {}  # ids of service workers, by the origin that is their scope

    def __enter__(self) -> Self:
        self._playwright = sync_playwright().start()
        try:
            self._launch()
        except BaseException:
            self._playwright.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.context.close()
        finally:
            self._playwright.stop()

    def _launch(self) -> None:
        self.context: BrowserContext = self._playwright.chromium.launch_persistent_context(
            self._home / "profile",
            executable_path=self._binary,
            args=QUIET,
            timeout=TIMEOUT_MILLISECONDS,
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": str(self._home),
                "LANG": "C.UTF-8",
                "DBUS_SESSION_BUS_ADDRESS": self.desktop.address,
            },
        )
        self.context.set_default_timeout(TIMEOUT_MILLISECONDS)
        self.context.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        self.context.expose_binding("vendor", self._ask_vendor)
        self.context.add_init_script(path=FILES / "push-manager.js")
        self._devtools: CDPSession = self.context.new_cdp_session(self.context.pages[0])
        self._devtools.on("ServiceWorker.workerRegistrationUpdated", self._note)
        self._devtools.send("ServiceWorker.enable")

    def visit(self, origin: str, address: str = "/") -> Page:
        """Open a page in a tab of its own; the site may show notifications."""
        self.context.grant_permissions(["notifications"], origin=origin)
        page = self.context.new_page()
        page.goto(origin + address)
        page.evaluate("ready")
        return page

    def tab_at(self, url: str) -> Page | None:
        self._hear()
        return next((page for page in self.context.pages if page.url == url), None)

    def tidy_up(self, *, but: Page | None = None) -> None:
        """Wipe the desktop, and close all pages but this one and Chromium's first."""
        self.desktop.clear()
        self._hear()
        for page in self.context.pages[1:]:
            if page is not but:
                page.close()

    def worker_of(self, origin: str) -> Worker:
        return next(worker for worker in self.context.service_workers if worker.url.startswith(origin + "/"))

    def deliver(self, origin: str, message: str) -> None:
        """Hand a push message's plaintext to a site's service worker; an empty one comes as none at all."""
        until(lambda: self._knows(origin), f"a service worker of {origin}")
        registration = self._registrations[origin]
        message_for = {"origin": origin, "registrationId": registration, "data": message}
        self._devtools.send("ServiceWorker.deliverPushMessage", message_for)

    def stop_workers(self) -> None:
        """Stop all service workers, as Chromium does with those that had nothing to do for half a minute."""
        self._devtools.send("ServiceWorker.stopAllWorkers")

    def _knows(self, origin: str) -> bool:
        self._hear()
        return origin in self._registrations

    def _hear(self) -> None:
        """Take in what Chromium told us: Playwright hands it out while it is called."""
        self.context.pages[0].evaluate("null")

    def _note(self, event: dict[str, Any]) -> None:
        for registration in event["registrations"]:
            self._registrations[registration["scopeURL"].rstrip("/")] = registration["registrationId"]

    def _ask_vendor(self, source: dict[str, Any], command: str, key: str = "") -> Any:
        """Answer a page's PushManager: see site/push-manager.js."""
        origin = origin_of(source["frame"].url)
        if command == "subscribe":
            service = self.services.get(origin, "fcm")
            self.subscribed[origin] = Subscribed(key, self._vendor.subscribe(service, application_server_key=key))
        elif command == "unsubscribe" and origin in self.subscribed:
            self.subscribed.pop(origin).browser.unsubscribe()
            return True
        kept = self.subscribed.get(origin)
        return kept and {"key": kept.key, "subscription": kept.browser.subscription}


def origin_of(url: str) -> str:
    scheme, host, *_ = urlsplit(url)
    return f"{scheme}://{host}"
