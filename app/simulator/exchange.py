"""What passes between the wire and the push services: a request in, a reaction out.

The wire (http1, http2) knows no push service, and the push services know no connection.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, Protocol

from app.simulator.arrivals import Head

HttpVersion = Literal["1.1", "2"]

# A push message is at most 5,000 bytes anywhere, so a body cut at this size is still too large for every rule.
KEPT_BODY_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; header names are in lower case. The body may be cut at KEPT_BODY_BYTES."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    http_version: HttpVersion
    peer: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; header names are in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Ending(Enum):
    """How an exchange ends on the wire."""

    ANSWER = "answer"
    DROP = "drop"  # the connection is cut without a word
    RESET = "reset"  # likewise, by TCP's RST
    HANG = "hang"  # nothing comes, the connection stays
    GARBAGE = "garbage"  # bytes that are not HTTP, then the end
    ENDLESS = "endless"  # the answer's head, then a body without an end
    SLOW = "slow"  # the same, byte by byte


# A body without an end comes in such pieces, with so many seconds between them.
PIECES: Mapping[Ending, tuple[bytes, float]] = {
    Ending.ENDLESS: (b"x" * 16_384, 0.01),
    Ending.SLOW: (b"x", 0.1),
}


@dataclass(frozen=True, slots=True)
class Reaction:
    """What the wire has to do with a request, after `delay_seconds`."""

    answer: Answer = field(default=Answer(200))
    ending: Ending = Ending.ANSWER
    delay_seconds: float = 0.0

    @property
    def tells_the_status(self) -> bool:
        """Whether the sender gets to know the answer's status."""
        return self.ending is Ending.ANSWER or self.ending in PIECES

    @property
    def says_yes(self) -> bool:
        """Whether the sender is told that the message was accepted."""
        return self.tells_the_status and 200 <= self.answer.status < 300


class Handler(Protocol):
    """Who answers the requests. All methods are called on the event loop's thread and may not block."""

    def arrived(self) -> None:
        """Note a TCP connection, before any TLS handshake."""

    def connected(self, http_version: HttpVersion) -> None: ...

    def foresee(self, request: Request) -> Reaction | None:
        """Return the reaction to a request of which only the head has come; None to wait for its body."""

    def handle(self, request: Request) -> Reaction: ...

    def requests_per_connection(self) -> int | None:
        """Return after how many requests a connection is told to go away; None for never."""


class Sink(Handler, Protocol):
    """A handler that also takes posts of which it is told nothing but the size, and the head if it wants that."""

    @property
    def counts_endpoints(self) -> bool: ...

    def swallow(self, http_version: HttpVersion, body_bytes: int, head: Head | None) -> Reaction: ...

    def cut_off(self, heads: Iterable[Head]) -> None:
        """Note that a connection was cut before these posts' answers, a yes each, can be sure to have come."""
