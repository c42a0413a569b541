"""The port: how the delivery pipeline hands messages to whatever posts them, and gets their outcomes back."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.push.message import PushMessage
from app.push.outcome import Outcome

Outcomes = Generator[list[tuple[PushMessage, Outcome]], None, None]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a sender waits. `connect` counts for TCP and again for TLS, `read` for each piece of the
    answer, `answer` from the request to the last header, `body` for what follows: by then the verdict is
    known.
    """

    connect_seconds: float = 5.0
    read_seconds: float = 10.0
    answer_seconds: float = 15.0
    body_seconds: float = 2.0


DEFAULT_TIMEOUTS = Timeouts()


def never() -> bool:
    """The default of `stop`: go on to the last message."""
    return False


class Sender(Protocol):
    """Encrypts, signs and posts. Safe to use from several threads; one lives as long as its process."""

    def send(
        self,
        messages: Sequence[PushMessage],
        *,
        stop: Callable[[], bool] = never,
        rate_per_second: float | None = None,
    ) -> Outcomes:
        """Post the messages and yield outcomes as they arrive, in any order.

        Yields at least once per second, an empty list when nothing arrived, so that the caller can write,
        renew its lease or stop. Every message gets exactly one outcome, a broken one too; nothing is raised
        for a message. Nothing is posted before the first `next`.

        With a rate, message i is begun no sooner than i / rate after the first; without, as fast as it goes. Other
        calls have their turn meanwhile. Raises ValueError for a rate that is not positive.

        Two ways to end early: once `stop()` is true no further message is begun, those in flight still yield
        their outcome, and the rest get none; it is asked before each message, on any thread, and must not wait.
        What it raises, the caller gets. Closing the generator does not wait: what is in flight then may
        have been posted without the caller ever learning its outcome.
        """
        ...

    def close(self) -> None:
        """Close the connections. A `send` that is under way ends early; a later one raises RuntimeError."""
        ...
