"""A small WebDriver BiDi client: one browser, its first tab, and the notifications that it shows.

Source: https://w3c.github.io/webdriver-bidi/, and Firefox's "moz:scope" for windows of its own.
"""

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Self, TypeVar

from websockets.sync.client import connect

COMMAND_TIMEOUT_SECONDS = 60
POLL_SECONDS = 0.02

# Source: WebDriver, "Keyboard actions".
TAB, ENTER, SPACE = "\ue004", "\ue007", " "

T = TypeVar("T")


class BidiError(Exception):
    """The browser refused a command, or the page's script threw."""


@dataclass(frozen=True)
class Alert:
    """A notification's window, as it is on the screen. Firefox cuts the text after 200 characters."""

    title: str
    text: str


# The windows stop fading out, which they begin at once: they are there until somebody closes them.
ALERTS = """[...Services.wm.getEnumerator("alert:alert")]
    .filter((window) => window.gIsActive && !window.closed)
    .map(({ document }) => {
        document.getElementById("alertBox").removeAttribute("animate");
        const title = document.getElementById("alertTitleLabel").value;
        return { title, text: document.getElementById("alertTextLabel").textContent };
    })"""
CLICK_ALERT = """[...Services.wm.getEnumerator("alert:alert")]
    .find(({ document }) => document.getElementById("alertTitleLabel")?.value === title)
    .document.getElementById(part).click()"""
CLOSE_ALERTS = """[...Services.wm.getEnumerator("alert:alert")].forEach((window) => window.close())"""


class Browser:
    """Drives the first tab. Its session, not the browser, ends with the `with` block."""

    def __init__(self, address: str) -> None:
        self.console: list[str] = []  # what pages and workers logged, for failures
        self._socket = connect(
            f"{address}/session", max_size=None, compression=None, proxy=None, open_timeout=COMMAND_TIMEOUT_SECONDS
        )
        self._ids = count(1)

    def __enter__(self) -> Self:
        self._connection = self._socket.__enter__()
        self._command("session.new", capabilities={})
        self._command("session.subscribe", events=["log.entryAdded"])
        self._context: str = self._tree()[0]["context"]
        self._window: str = self._tree(**{"moz:scope": "chrome"})[0]["context"]
        return self

    def __exit__(self, *exception: Any) -> None:
        self._socket.__exit__(*exception)

    def open(self, url: str) -> None:
        """Return when the page and what it loads are there."""
        self._command("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def evaluate(self, expression: str, **arguments: Any) -> Any:
        """Return the value of a JavaScript expression, awaited, as JSON would carry it.

        The arguments are constants of the same names in the expression. Raises BidiError when it throws.
        """
        return self._evaluate_in(self._context, expression, arguments)

    def evaluate_as_firefox(self, expression: str, **arguments: Any) -> Any:
        """The same with the rights of Firefox itself: `Services` and all its windows are there."""
        return self._evaluate_in(self._window, expression, arguments)

    def wait_for(self, expression: str, *, seconds: float = 60, **arguments: Any) -> Any:
        """Return the expression's first truthy value. Raises AssertionError after the deadline."""
        what = f"{expression} {arguments or ''}"
        return _wait_until(lambda: self.evaluate(expression, **arguments), what, seconds)

    def click(self, selector: str) -> None:
        """Click as a person does: scrolled into view, with the mouse, counting as a user's gesture."""
        locator = {"type": "css", "value": selector}
        nodes = self._command("browsingContext.locateNodes", context=self._context, locator=locator)["nodes"]
        if len(nodes) != 1:
            raise BidiError(f"{selector} matches {len(nodes)} elements")
        self.evaluate("document.querySelector(selector).scrollIntoView({block: 'center'})", selector=selector)
        origin = {"type": "element", "element": {"sharedId": nodes[0]["sharedId"]}}
        actions = [
            {"type": "pointerMove", "x": 0, "y": 0, "origin": origin},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        self._command(
            "input.performActions",
            context=self._context,
            actions=[{"type": "pointer", "id": "mouse", "actions": actions}],
        )

    def press(self, *keys: str) -> None:
        """Press keys, one after the other: characters, or TAB and the others named here."""
        strokes = [{"type": stroke, "value": key} for key in keys for stroke in ("keyDown", "keyUp")]
        self._command(
            "input.performActions",
            context=self._context,
            actions=[{"type": "key", "id": "keyboard", "actions": strokes}],
        )

    def screenshot(self, path: Path, *, width: int, height: int, scale: float = 1) -> None:
        """Write a PNG of the whole document at a viewport of this many CSS pixels."""
        self._command(
            "browsingContext.setViewport",
            context=self._context,
            viewport={"width": width, "height": height},
            devicePixelRatio=scale,
        )
        answer = self._command("browsingContext.captureScreenshot", context=self._context, origin="document")
        path.write_bytes(base64.b64decode(answer["data"]))

    @contextmanager
    def offline(self) -> Iterator[None]:
        """Firefox works offline for the block, and says so to its pages."""
        self.evaluate_as_firefox("void (Services.io.offline = true)")
        try:
            self.wait_for("!navigator.onLine")
            yield
        finally:
            self.evaluate_as_firefox("void (Services.io.offline = false)")

    def close_page(self) -> None:
        """Close the tab with the page, and go on in a new, empty one."""
        left = self._context
        self._context = self._command("browsingContext.create", type="tab")["context"]
        self._command("browsingContext.close", context=left)

    def wait_for_tab(self, url: str, *, seconds: float = 60) -> None:
        """Return once a tab shows this URL, else raise AssertionError."""
        _wait_until(lambda: url in self.tabs(), f"a tab at {url}", seconds)

    def tabs(self) -> list[str]:
        """Return the URL of each tab."""
        return [tab["url"] for tab in self._tree()]

    def wait_for_alert(self, title: str, *, seconds: float = 60) -> Alert:
        """Return the notification of this title once it is on the screen, else raise AssertionError."""
        return _wait_until(
            lambda: next((alert for alert in self.alerts() if alert.title == title), None),
            f"a notification {title!r}",
            seconds,
        )

    def alerts(self) -> list[Alert]:
        """Return the notifications on the screen."""
        return [Alert(**alert) for alert in self.evaluate_as_firefox(ALERTS)]

    def click_alert(self, alert: Alert) -> None:
        self.evaluate_as_firefox(f"void {CLICK_ALERT}", title=alert.title, part="alertTextBox")

    def close_alert(self, alert: Alert) -> None:
        """Click the notification's cross."""
        self.evaluate_as_firefox(f"void {CLICK_ALERT}", title=alert.title, part="alert-close")

    def tidy_up(self) -> None:
        """Close every tab but the one that is driven, and all notifications."""
        for tab in self._tree():
            if tab["context"] != self._context:
                self._command("browsingContext.close", context=tab["context"])
        self.evaluate_as_firefox(f"void {CLOSE_ALERTS}")

    def _tree(self, **params: Any) -> list[dict[str, Any]]:
        contexts: list[dict[str, Any]] = self._command("browsingContext.getTree", **params)["contexts"]
        return contexts

    def _evaluate_in(self, context: str, expression: str, arguments: dict[str, Any]) -> Any:
        declaration = (
            f"async (given) => {{ const {{{', '.join(arguments)}}} = JSON.parse(given);"
            f" return JSON.stringify((await ({expression})) ?? null); }}"
        )
        answer = self._command(
            "script.callFunction",
            functionDeclaration=declaration,
            arguments=[{"type": "string", "value": json.dumps(arguments)}],
            target={"context": context},
            awaitPromise=True,
        )
        if answer["type"] == "exception":
            raise BidiError(f"{expression}: {answer['exceptionDetails']['text']}")
        return json.loads(answer["result"]["value"])

    def _command(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        self._connection.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._connection.recv(timeout=COMMAND_TIMEOUT_SECONDS))
            if message["type"] == "event":
                entry = message["params"]
                self.console.append(f"{entry['level']}: {entry['text']}")
            elif message["id"] == number:
                if message["type"] == "error":
                    raise BidiError(f"{method}: {message['error']}: {message['message']}")
                result: dict[str, Any] = message["result"]
                return result


def _wait_until(condition: Callable[[], T | None], what: str, seconds: float) -> T:
    """Return the condition's first truthy value. Raises AssertionError after the deadline."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(POLL_SECONDS)
    return value
