"""Senders without a network, for what the pipeline does around them."""

import threading
from collections.abc import Callable, Sequence

from app.push.message import PushMessage
from app.push.outcome import Outcome, Reason, Verdict
from app.push.sender import Outcomes, never

ACCEPTED = Outcome(Verdict.ACCEPTED, Reason.ACCEPTED, 201)
WAIT_SECONDS = 10.0


class ScriptedSender:
    """Accepts one message at a time; `before(n)` is called before the n-th (from 0) is posted, and may raise."""

    def __init__(self, before: Callable[[int], None] = lambda number: None) -> None:
        self.posted: list[PushMessage] = []
        self._before = before

    def send(self, messages: Sequence[PushMessage], *, stop: Callable[[], bool] = never) -> Outcomes:
        for number, message in enumerate(messages):
            if stop():
                return
            self._before(number)
            self.posted.append(message)
            yield [(message, ACCEPTED)]

    def close(self) -> None:
        pass


class HangingSender:
    """Posts everything at once and gets no answer until `answer` is set; then all are accepted."""

    def __init__(self) -> None:
        self.posted = threading.Event()
        self.answer = threading.Event()

    def send(self, messages: Sequence[PushMessage], *, stop: Callable[[], bool] = never) -> Outcomes:
        self.posted.set()
        assert self.answer.wait(WAIT_SECONDS), "nobody let the push service answer"
        yield [(message, ACCEPTED) for message in messages]

    def close(self) -> None:
        pass
