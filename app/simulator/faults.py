"""Scripted faults: which push messages are treated how, instead of what the rules would say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Lock

from app.simulator.exchange import Answer, Ending, Reaction


class Action(StrEnum):
    """What a fault does."""

    ANSWER = "answer"
    DELAY = "delay"
    DROP = "drop"
    RESET = "reset"
    HANG = "hang"
    GARBAGE = "garbage"
    ENDLESS_BODY = "endless_body"
    SLOW_BODY = "slow_body"


ENDINGS: Mapping[Action, Ending] = {
    Action.ANSWER: Ending.ANSWER,
    Action.DROP: Ending.DROP,
    Action.RESET: Ending.RESET,
    Action.HANG: Ending.HANG,
    Action.GARBAGE: Ending.GARBAGE,
    Action.ENDLESS_BODY: Ending.ENDLESS,
    Action.SLOW_BODY: Ending.SLOW,
}


@dataclass(slots=True, kw_only=True)
class Fault:
    """One line of the script.

    It concerns the posts to `service`, `host` ("127.0.0.2:8443" or without the port) and `endpoint_path` as
    far as they are given; of these, only each `every`-th, and `times` of them in all (None: without end).
    `before_body`: the connection is dropped as soon as the head is read.
    `delivers`: the message reaches the browser although the sender is not told so.
    """

    action: Action
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_seconds: float = 0.0
    before_body: bool = False
    delivers: bool = False
    service: str | None = None
    host: str | None = None
    endpoint_path: str | None = None
    times: int | None = None
    every: int = 1
    _met: int = field(default=0, init=False)
    _done: int = field(default=0, init=False)

    @property
    def accepts(self) -> bool:
        """Whether the message is checked by the rules and, if it passes, given to the browser."""
        return self.only_for_accepted or self.delivers

    @property
    def only_for_accepted(self) -> bool:
        """Whether this is another way to say yes: then a message that the rules refuse stays refused."""
        throttled = self.headers.get("x-wns-status") in ("dropped", "channelthrottled")
        answers = self.action in (Action.ANSWER, Action.ENDLESS_BODY, Action.SLOW_BODY)
        return answers and 200 <= self.status < 300 and not throttled

    @property
    def reaction(self) -> Reaction:
        answer = Answer(self.status, tuple(self.headers.items()), self.body)
        return Reaction(answer, ENDINGS[self.action])

    def concerns(self, path: str, host: str) -> bool:
        return (
            (self.endpoint_path is None or self.endpoint_path == path)
            and (self.service is None or path.startswith(f"/{self.service}/"))
            and (self.host is None or self.host in (host, host.rpartition(":")[0]))
        )

    def take(self) -> bool:
        """Count a post that this fault concerns, and tell whether it is hit."""
        if self.times is not None and self._done >= self.times:
            return False
        self._met += 1
        if self._met % self.every:
            return False
        self._done += 1
        return True


@dataclass(frozen=True, slots=True)
class Fate:
    """What the script has in store for one post: a delay, and perhaps a fault."""

    delay_seconds: float = 0.0
    fault: Fault | None = None


ORDINARY = Fate()


class FaultScript:
    """The faults in force. Tests write it from their thread while the event loop reads it.

    Delays add up and go together with anything else. Of the other faults one is chosen: those with a number of
    times come first, in the order they were written, so a script reads like a story; then the newest of the
    lasting ones.
    """

    def __init__(self) -> None:
        self.requests_per_connection: int | None = None
        self._lock = Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()
            self.requests_per_connection = None

    def foresee(self, path: str, host: str) -> Fault | None:
        """Return the fault that drops this post before its body is read."""
        if not self._faults:
            return None
        with self._lock:
            return self._choose([fault for fault in self._faults if fault.before_body], path, host)

    def decide(self, path: str, host: str) -> Fate:
        """Return what happens to a post whose body has come."""
        if not self._faults:
            return ORDINARY
        with self._lock:
            delays = [
                fault.delay_seconds
                for fault in self._faults
                if fault.action is Action.DELAY and fault.concerns(path, host) and fault.take()
            ]
            others = [f for f in self._faults if f.action is not Action.DELAY and not f.before_body]
            return Fate(sum(delays), self._choose(others, path, host))

    @staticmethod
    def _choose(faults: list[Fault], path: str, host: str) -> Fault | None:
        counted = [fault for fault in faults if fault.times is not None]
        lasting = [fault for fault in reversed(faults) if fault.times is None]
        for fault in (*counted, *lasting):
            if fault.concerns(path, host) and fault.take():
                return fault
        return None
