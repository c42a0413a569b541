"""The words in which a test scripts a push service: answers, delays, drops_connection, hangs, ..."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, TypedDict, Unpack

from app.simulator.browsers import Browser
from app.simulator.faults import Action, Fault, FaultScript
from app.simulator.rules import ServiceName


class Limits(TypedDict, total=False):
    """Which posts a fault concerns; all of them when nothing is given."""

    service: str  # fcm, mozilla, apple, wns
    host: str  # 127.0.0.2, with or without the port
    browser: Browser
    times: int | None  # so many posts; None: without end
    every: int  # only each n-th of the posts concerned


class Scriptable:
    """A push service that can be told to misbehave. What several faults do together stands at FaultScript."""

    def __init__(self) -> None:
        self.script = FaultScript()

    def answers(
        self,
        status: int,
        *,
        retry_after: int | str | datetime | None = None,
        headers: Mapping[str, str] | None = None,
        body: str | bytes = b"",
        **limits: Unpack[Limits],
    ) -> None:
        """Answer with this status. A 2xx replaces only the answer to a message that the rules accept.

        `retry_after` is in seconds, or a moment, which is sent as an HTTP date; a text is sent as it is.
        """
        all_headers = {name.lower(): value for name, value in (headers or {}).items()}
        if retry_after is not None:
            all_headers["retry-after"] = retry_after_value(retry_after)
        encoded = body.encode() if isinstance(body, str) else body
        self._add(limits, action=Action.ANSWER, status=status, headers=all_headers, body=encoded)

    def redirects_to(self, url: str, *, status: int = 307, **limits: Unpack[Limits]) -> None:
        """Answer with a redirect, which no sender may follow."""
        self._add(limits, action=Action.ANSWER, status=status, headers={"location": url})

    def delays(self, seconds: float, **limits: Unpack[Limits]) -> None:
        """Accept or refuse at once, but answer this much later."""
        self._add(limits, action=Action.DELAY, delay_seconds=seconds)

    def drops_connection(
        self, *, before_body: bool = False, delivers: bool = False, **limits: Unpack[Limits]
    ) -> None:
        """Cut the connection instead of answering, and with it all other streams on it.

        `before_body`: as soon as the head is read; else when the whole message has come. `delivers`: the
        browser gets the message although the sender cannot know: what is sent again is a repeat.
        """
        self._add(limits, action=Action.DROP, before_body=before_body, delivers=delivers)

    def resets_connection(self, *, delivers: bool = False, **limits: Unpack[Limits]) -> None:
        """The same by TCP's RST: what was answered just before may be lost with it."""
        self._add(limits, action=Action.RESET, delivers=delivers)

    def hangs(self, *, delivers: bool = False, **limits: Unpack[Limits]) -> None:
        """Never answer; the connection stays open. `delivers` as for drops_connection."""
        self._add(limits, action=Action.HANG, delivers=delivers)

    def endless_body(self, *, status: int = 500, **limits: Unpack[Limits]) -> None:
        """Answer with a body that does not end: 16 KB each hundredth of a second."""
        self._add(limits, action=Action.ENDLESS_BODY, status=status)

    def slow_body(self, *, status: int = 500, **limits: Unpack[Limits]) -> None:
        """Answer with a body that does not end either, and comes a byte each tenth of a second."""
        self._add(limits, action=Action.SLOW_BODY, status=status)

    def garbage(self, **limits: Unpack[Limits]) -> None:
        """Answer with bytes that are not HTTP, then close the connection."""
        self._add(limits, action=Action.GARBAGE)

    def sends_goaway(self, *, every: int) -> None:
        """Tell each connection to go away after so many requests; the requests it has taken are answered.

        On HTTP/1.1 this is `Connection: close`.
        """
        self.script.requests_per_connection = every

    def _add(self, limits: Limits, **fault: Any) -> None:
        browser, service = limits.get("browser"), limits.get("service")
        self.script.add(
            Fault(
                **fault,
                service=None if service is None else ServiceName(service),
                host=limits.get("host"),
                endpoint_path=browser.path if browser is not None else None,
                times=limits.get("times"),
                every=limits.get("every", 1),
            )
        )


def retry_after_value(retry_after: int | str | datetime) -> str:
    if isinstance(retry_after, datetime):
        return format_datetime(retry_after.astimezone(UTC), usegmt=True)
    return str(retry_after)
