"""Group commit: what all requests of a process report meanwhile is written together, by one thread.

No timer holds anything back: while one write is under way the next ones gather, so that under load a commit is
shared by many, and a receipt that comes alone is written at once. Whoever reports waits for the commit.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from threading import Condition, Thread

import structlog

from app.db.session import PASSING_ERRORS
from app.delivery.partitions import month_of
from app.delivery.report import Report, Verdict, Written
from app.errors import Unavailable

MOST_AT_ONCE = 1_000
MOST_WAITING = 5_000
# How long a receipt waits for a row that another holds. Workers hold theirs for milliseconds.
PATIENCE_SECONDS = 5.0
PAUSE_SECONDS = 0.01

log = structlog.stdlib.get_logger(__name__)

Write = Callable[[Sequence[Report]], list[Written]]


class TooManyReceipts(Unavailable):
    code = "too-many-receipts"
    title = "Too many receipts at once"


class ReceiptsNotWritten(Unavailable):
    title = "The receipts could not be stored"

    def __init__(self) -> None:
        super().__init__("The receipts cannot be stored just now. Send the same again shortly.")


class ReceiptWriter:
    """Writes reports of deliveries of one month at a time. For one event loop; `close` may be called anywhere."""

    def __init__(self, write: Write, *, most_waiting: int = MOST_WAITING) -> None:
        self._write = write
        self._most_waiting = most_waiting
        self._unanswered = 0
        self._waiting: deque[_Waiting] = deque()
        self._news = Condition()
        self._is_closing = False
        self._thread = Thread(target=self._run, name="receipts", daemon=True)
        self._thread.start()

    async def add(self, reports: Sequence[Report]) -> list[Written]:
        """Return what became of each report, once that is committed; of none of them BUSY.

        Raises TooManyReceipts, ReceiptsNotWritten, and what writing these alone raised that nobody expects.
        """
        if self._unanswered + len(reports) > self._most_waiting:
            raise TooManyReceipts("More receipts wait than can be stored at once. Send the same again shortly.")
        if self._is_closing:
            raise ReceiptsNotWritten
        request = _Request(len(reports))
        self._unanswered += len(reports)
        try:
            with self._news:
                self._waiting.extend(_Waiting(request, place, report) for place, report in enumerate(reports))
                self._news.notify()
            return await request.answer
        finally:
            self._unanswered -= len(reports)

    def close(self) -> None:
        """Write what waits, and end: what is added after that is refused."""
        with self._news:
            self._is_closing = True
            self._news.notify()
        self._thread.join()

    def _run(self) -> None:
        while taken := self._take():
            by_month: defaultdict[datetime, list[_Waiting]] = defaultdict(list)
            for each in taken:
                by_month[month_of(each.report.delivery.planned_at)[0]].append(each)
            busy = [each for part in by_month.values() for each in self._write_part(part)]
            _answer({each.request for each in taken})
            if busy:
                with self._news:
                    self._waiting.extend(busy)  # behind the others: those are perhaps not held up
                if len(busy) == len(taken):
                    time.sleep(PAUSE_SECONDS)

    def _take(self) -> list["_Waiting"]:
        """Wait for something, and return the first of it. Empty when there will be nothing any more."""
        with self._news:
            self._news.wait_for(lambda: self._waiting or self._is_closing)
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_AT_ONCE))]

    def _write_part(self, part: list["_Waiting"]) -> list["_Waiting"]:
        """Write one month's; return those that are to be tried again."""
        try:
            written = self._write([each.report for each in part])
        except PASSING_ERRORS as error:
            log.warning("receipts not written", number=len(part), error=type(error).__name__)
            for each in part:
                each.request.fail(ReceiptsNotWritten())
            return []
        except Exception as error:
            return self._write_by_request(part, error)
        now = time.monotonic()
        for each, outcome in zip(part, written, strict=True):
            if outcome.verdict is not Verdict.BUSY:
                each.request.tell(each.place, outcome)
            elif now > each.request.give_up_at:
                each.request.fail(ReceiptsNotWritten())
        return [each for each in part if each.request.lacks(each.place)]

    def _write_by_request(self, part: list["_Waiting"], error: Exception) -> list["_Waiting"]:
        """Let nobody else bear what is wrong with the reports of one request."""
        by_request: defaultdict[_Request, list[_Waiting]] = defaultdict(list)
        for each in part:
            by_request[each.request].append(each)
        if len(by_request) > 1:
            return [each for alone in by_request.values() for each in self._write_part(alone)]
        part[0].request.fail(error)
        return []


class _Request:
    """The reports of one request, and who waits for what became of them."""

    def __init__(self, size: int) -> None:
        self.answer: asyncio.Future[list[Written]] = asyncio.get_running_loop().create_future()
        self.give_up_at = time.monotonic() + PATIENCE_SECONDS
        self.error: Exception | None = None
        self._written: list[Written | None] = [None] * size

    @property
    def written(self) -> list[Written]:
        return [each for each in self._written if each is not None]

    @property
    def is_done(self) -> bool:
        return self.error is not None or None not in self._written

    def tell(self, place: int, written: Written) -> None:
        self._written[place] = written

    def fail(self, error: Exception) -> None:
        self.error = error

    def lacks(self, place: int) -> bool:
        return self.error is None and self._written[place] is None


class _Waiting:
    """One report, and its place in its request."""

    __slots__ = ("place", "report", "request")

    def __init__(self, request: _Request, place: int, report: Report) -> None:
        self.request = request
        self.place = place
        self.report = report


def _answer(requests: set[_Request]) -> None:
    """Wake those of whom everything is written, in one go: to wake a loop costs a system call."""
    done = [request for request in requests if request.is_done]
    if done:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            done[0].answer.get_loop().call_soon_threadsafe(_tell, done)


def _tell(requests: list[_Request]) -> None:
    for request in requests:
        if request.answer.done():  # who waited has gone
            continue
        if request.error is not None:
            request.answer.set_exception(request.error)
        else:
            request.answer.set_result(request.written)
