"""One call of `send()`: where the sending thread takes messages from, and where the caller hears of them."""

import queue
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

from app.push.curl_host import Host
from app.push.curl_request import Body
from app.push.endpoint import CheckedEndpoint
from app.push.message import PushMessage
from app.push.outcome import Outcome
from app.push.pace import Pace

Answered = list[tuple[PushMessage, Outcome]]

# Encrypted in one go: about four milliseconds.
PREPARED_AT_ONCE = 32
# Few enough for the caller to hear of them soon, many enough that waking it costs little beside the posts.
_REPORTED_AT_ONCE = 256
REPORTED_AFTER_SECONDS = 0.25


class Prepared(NamedTuple):
    """A message and its body, and where it goes once that is known."""

    message: PushMessage
    body: Body
    target: CheckedEndpoint | None = None


class Job:
    """Messages on their way. Belongs to the sending thread, but for the caller's `wait` and `abandon`."""

    def __init__(self, messages: Sequence[PushMessage], stop: Callable[[], bool], pace: Pace) -> None:
        self.pace = pace
        self.in_flight = 0
        self.parked = 0  # wait for their host's addresses
        self.awaited_host: Host | None = None  # has no room for the next message
        self.is_abandoned = False
        self._messages = iter(messages)
        self._stop = stop
        self._prepared: deque[Prepared] = deque()  # with a target: could not be begun yet
        self._begins_no_more = False
        self._unreported: Answered = []
        self._report_due_at = 0.0
        self._reports: queue.SimpleQueue[Answered | Exception | None] = queue.SimpleQueue()

    def wait(self, seconds: float) -> Answered | None:
        """Return the next outcomes, nothing when none came in time; None when there will be no more.

        Raises what `stop()` raised.
        """
        try:
            report = self._reports.get(timeout=seconds)
        except queue.Empty:
            return []
        if isinstance(report, Exception):
            raise report
        return report

    def abandon(self) -> None:
        """Say that nobody waits any more."""
        self.is_abandoned = True

    def may_go_on(self) -> bool:
        """Ask whether another message may be begun; once it is not so, it is never so again."""
        if not self._begins_no_more:
            try:
                if self.is_abandoned or self._stop():
                    self.begin_no_more()
            except Exception as error:
                self.begin_no_more()
                self._reports.put(error)
        return not self._begins_no_more

    @property
    def has_unreported(self) -> bool:
        return bool(self._unreported)

    @property
    def begins_more(self) -> bool:
        return not self._begins_no_more

    @property
    def is_over(self) -> bool:
        return self._begins_no_more and self.in_flight == 0

    def begin_no_more(self) -> None:
        self._begins_no_more = True
        self._prepared.clear()

    def hold(self, prepared: Prepared, *, until_room_at: Host | None = None) -> None:
        """Keep a message that could not be begun yet; it comes before the others."""
        self._prepared.appendleft(prepared)
        self.awaited_host = until_room_at

    def next_message(self, bodies_of: Callable[[Sequence[PushMessage]], Sequence[Body]]) -> Prepared | None:
        """Return the next message; None after the last one, and when others have to be begun first.

        Several are prepared at a time: that is cheaper, and few enough to be just in time.
        """
        if not self._prepared:
            messages = list(islice(self._messages, PREPARED_AT_ONCE))
            self._prepared.extend(map(Prepared, messages, bodies_of(messages)))
        if self._prepared:
            return self._prepared.popleft()
        if not self.parked:
            self._begins_no_more = True
        return None

    def answer(self, message: PushMessage, outcome: Outcome, *, now: float) -> None:
        if not self._unreported:
            self._report_due_at = now + REPORTED_AFTER_SECONDS
        self._unreported.append((message, outcome))

    def report(self, *, now: float) -> None:
        """Hand over the outcomes if there are enough of them, or it is time, or no others are to come soon."""
        is_due = len(self._unreported) >= _REPORTED_AT_ONCE or self.in_flight == 0 or now >= self._report_due_at
        if is_due:
            self._hand_over()

    def end(self) -> None:
        """Hand over what there is, and say that it was all."""
        self._hand_over()
        self._reports.put(None)

    def fail(self, outcome: Outcome, begun: Sequence[PushMessage]) -> None:
        """Give this outcome to all that have none: those that were begun, and those that never will be."""
        rest = [*begun, *(prepared.message for prepared in self._prepared)]
        if not self._begins_no_more:
            rest += self._messages
        self._unreported += [(message, outcome) for message in rest]
        self.end()

    def _hand_over(self) -> None:
        if self._unreported:
            self._reports.put(self._unreported)
            self._unreported = []
