"""The port: how the delivery pipeline hands messages to whatever posts them, and gets their outcomes back."""

from collections.abc import Callable, Generator, Sequence
from typing import Protocol

from app.push.message import PushMessage
from app.push.outcome import Outcome

Outcomes = Generator[list[tuple[PushMessage, Outcome]], None, None]


def never() -> bool:
    """The default of `stop`: go on to the last message."""
    return False


class Sender(Protocol):
    """Encrypts, signs and posts. Safe to use from several threads; one lives as long as its process."""

    def send(self, messages: Sequence[PushMessage], *, stop: Callable[[], bool] = never) -> Outcomes:
        """Post the messages and yield outcomes as they arrive, in any order.

        Yields at least once per second, an empty list when nothing arrived, so that the caller can write,
        renew its lease or stop. Every message gets exactly one outcome, a broken one too; nothing is raised
        for a message. Nothing is posted before the first `next`.

        Two ways to end early: once `stop()` is true no further message is begun, those in flight still yield
        their outcome, and the rest get none. Closing the generator does not wait: what is in flight then may
        have been posted without the caller ever learning its outcome.
        """
        ...

    def close(self) -> None:
        """Close the connections. A `send` that is under way ends early; a later one raises RuntimeError."""
        ...
