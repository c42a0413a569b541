"""Senders without a network, for what the pipeline does around them."""

import threading
from collections.abc import Callable, Sequence

from app.push.message import PushMessage
from app.push.outcome import Outcome, Reason, Verdict
from app.push.sender import Outcomes, never

ACCEPTED = Outcome(Verdict.ACCEPTED, Reason.ACCEPTED, 201)
GONE = Outcome(Verdict.GONE, Reason.GONE, 410)
REJECTED = Outcome(Verdict.REJECTED, Reason.BAD_REQUEST, 400)
UNAVAILABLE = Outcome(Verdict.RETRY, Reason.PUSH_SERVICE_ERROR, 503)
WAIT_SECONDS = 60.0


class ScriptedSender:
    """Posts one message at a time: the first get the outcomes given, the others are accepted.

    `before(n)` is called before the n-th message of a send (from 0), and may raise.
    """

    def __init__(self, outcomes: Sequence[Outcome] = (), *, before: Callable[[int], None] = lambda number: None):
        self._outcomes = list(outcomes)
        self._before = before
        self.start_again()

    def start_again(self, outcomes: Sequence[Outcome] | None = None) -> None:
        """Forget what was posted, and begin with the first outcome again, or with those of others."""
        self.posted: list[PushMessage] = []
        self._outcomes = self._outcomes if outcomes is None else list(outcomes)
        self._next_outcomes = list(self._outcomes)

    def send(
        self,
        messages: Sequence[PushMessage],
        *,
        stop: Callable[[], bool] = never,
        rate_per_second: float | None = None,
    ) -> Outcomes:
        for number, message in enumerate(messages):
            if stop():
                return
            self._before(number)
            self.posted.append(message)
            yield [(message, self._next_outcomes.pop(0) if self._next_outcomes else ACCEPTED)]

    def close(self) -> None:
        pass


class HangingSender:
    """Posts everything at once and gets no answer until `answer` is set; then all are accepted."""

    def __init__(self) -> None:
        self.posted = threading.Event()
        self.answer = threading.Event()

    def send(
        self,
        messages: Sequence[PushMessage],
        *,
        stop: Callable[[], bool] = never,
        rate_per_second: float | None = None,
    ) -> Outcomes:
        self.posted.set()
        assert self.answer.wait(WAIT_SECONDS), "nobody let the push service answer"
        yield [(message, ACCEPTED) for message in messages]

    def close(self) -> None:
        pass
