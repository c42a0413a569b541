"""A small WebDriver BiDi client: one browser, its first tab, and the notifications that it shows.

Source: https://w3c.github.io/webdriver-bidi/, and Firefox's "moz:scope" for windows of its own.
"""

import base64
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Self, TypeVar

from websockets.sync.client import connect

COMMAND_TIMEOUT_SECONDS = 60
POLL_SECONDS = 0.02


T = TypeVar("T")


class BidiError(Exception):
    """The browser refused a command, or the page's script threw."""


@dataclass(frozen=True)
class Alert:
    """A notification's window, as it is on the screen. Firefox cuts the text after 200 characters."""

    context: str
    title: str
    text: str


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

    def wait_for_tab(self, url: str, *, seconds: float = 60) -> None:
        """Return once a tab shows this URL, else raise AssertionError."""
        _wait_until(lambda: url in [tab["url"] for tab in self._tree()], f"a tab at {url}", seconds)

    def wait_for_alert(self, title: str, *, seconds: float = 60) -> Alert:
        """Return the notification of this title once it is on the screen, else raise AssertionError."""
        return _wait_until(
            lambda: next((alert for alert in self._alerts() if alert.title == title), None),
            f"a notification {title!r}",
            seconds,
        )

    def click_alert(self, alert: Alert) -> None:
        self._evaluate_in(alert.context, "void document.getElementById('alertTextBox').click()", {})

    def _alerts(self) -> list[Alert]:
        texts = """[document.getElementById("alertTitleLabel").value,
            document.getElementById("alertTextLabel").textContent]"""
        alerts = []
        for window in self._tree(**{"moz:scope": "chrome"}):
            if window["url"].endswith("/alert.xhtml"):
                with suppress(BidiError):  # closed since
                    title, text = self._evaluate_in(window["context"], texts, {})
                    alerts.append(Alert(window["context"], title, text))
        return alerts

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
