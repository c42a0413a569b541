"""What the sending thread does, turn by turn: messages from all calls of `send()` begin, move on, and are answered.

What is decided about a single answer stands in curl_failure.py and outcome.py.
"""

import time
from collections import deque
from math import inf

from app.push.curl_addresses import AddressBook, Known
from app.push.curl_connections import Connections
from app.push.curl_failure import outcome_of_failure, was_not_processed
from app.push.curl_flight import Flight
from app.push.curl_host import Host
from app.push.curl_job import PREPARED_AT_ONCE, REPORTED_AFTER_SECONDS, Job, Prepared
from app.push.curl_library import pycurl
from app.push.curl_parking import Parking
from app.push.curl_patience import Patience
from app.push.curl_request import CurlRequest, Preparation
from app.push.curl_transfer import Transfer
from app.push.curl_verdict import outcome_of_answer, outcome_of_error
from app.push.message import PushMessage
from app.push.outcome import Outcome, Reason
from app.push.request import ttl_left
from app.push.sender import Timeouts

# Begun between two looks at the sockets.
_BURST = PREPARED_AT_ONCE
_MAX_PARKED = 128
# A service that says GOAWAY after every few requests needs some.
_MAX_REPEATS = 32
_LONGEST_WAIT_SECONDS = 60.0


class CurlLoop:
    """All that is under way in a process. Belongs to the sending thread."""

    def __init__(
        self,
        preparation: Preparation,
        *,
        addresses: AddressBook,
        connections: Connections,
        flight: Flight,
        timeouts: Timeouts,
    ) -> None:
        self._preparation = preparation
        self._addresses = addresses
        self._connections = connections
        self._flight = flight
        self._patience = Patience(timeouts)
        self._look_due_at = 0.0
        self._next_due_at = inf  # of the messages that may not begin yet
        self._jobs: deque[Job] = deque()
        self._parking = Parking(addresses, patience_seconds=2 * timeouts.connect_seconds)
        self._again: deque[CurlRequest] = deque()

    @property
    def has_work(self) -> bool:
        return bool(self._jobs or self._flight or self._again)

    def take_on(self, job: Job) -> None:
        self._jobs.append(job)

    def begin_no_more(self) -> None:
        """Give up what has not begun, of every job."""
        for job in self._jobs:
            job.begin_no_more()

    def turn(self) -> None:
        """Begin a burst, move everything on, tell what came. Waits a while when there is nothing to do."""
        if self._parking:
            self._parking.look(time.monotonic())
        begun = self._begin_burst()
        for curl, code, words in self._connections.run(self._wait_seconds(begun)):
            self._finish(curl.transfer, code, words)
        now = time.monotonic()
        if now >= self._look_due_at:
            self._look_due_at = now + self._patience.look_every_seconds
            self._look(now)
        self._report(now)

    def _wait_seconds(self, begun: int) -> float:
        if begun == _BURST:
            return 0.0
        if any(job.has_unreported for job in self._jobs):
            longest = REPORTED_AFTER_SECONDS
        elif self._jobs or self._flight:
            longest = self._patience.look_every_seconds
        else:
            return _LONGEST_WAIT_SECONDS
        return max(min(longest, self._next_due_at - time.monotonic()), 0.0)

    def _begin_burst(self) -> int:
        """Begin some messages, each job in its turn; return how many."""
        if not self._again and not self._jobs:
            return 0
        self._flight.next_burst()
        self._next_due_at = inf
        refused = 0
        begun = self._begin_those_again() if self._again else 0
        while begun < _BURST and refused < len(self._jobs):
            job = self._jobs[0]
            self._jobs.rotate(-1)
            if self._begin_next_of(job):
                begun += 1
                refused = 0
            else:
                refused += 1
        return begun

    def _begin_next_of(self, job: Job) -> bool:
        """Begin a job's next message, or settle it; False when it has none that could be begun now."""
        now = time.monotonic()
        if now < job.pace.due_at:
            self._next_due_at = min(self._next_due_at, job.pace.due_at)
            return False
        if job.awaited_host is not None and not self._flight.has_room_for(job.awaited_host):
            return False
        if job.parked >= _MAX_PARKED or not job.may_go_on():
            return False
        prepared = job.next_message(self._preparation.bodies_of)
        if prepared is None:
            return False
        message, body, target = prepared
        try:
            target = target or self._preparation.target_of(message)
            name = (target.host, target.port)
            host = self._flight.host(name)
            if not self._flight.has_room_for(host):
                job.hold(Prepared(message, body, target), until_room_at=host)
                return False
            known = self._addresses.find(*name, now=now)
            if known is None:
                self._parking.park(name, job, Prepared(message, body, target), now=now)
                return True
            if known.failure is not None:  # not raised: it would grow a traceback with each message
                job.answer(message, outcome_of_error(known.failure), now=now)
                return True
            request = self._preparation.request_for(message, body, target, now=now)
            request.owner = job
            self._begin(request, known, host)
            if job.pace.is_even:
                job.pace.note_begun(time.monotonic())
        except Exception as error:
            job.answer(message, outcome_of_error(error), now=now)
        return True

    def _begin(self, request: CurlRequest, known: Known, host: Host) -> None:
        self._flight.begin(request, known, host, now=time.monotonic())
        request.owner.in_flight += 1

    def _begin_those_again(self) -> int:
        """Begin those that have to be sent once more, as far as their hosts have room; return how many."""
        begun = 0
        for _ in range(len(self._again)):
            request = self._again.popleft()
            if begun == _BURST or not self._flight.has_room_for(request.host):
                self._again.append(request)
            else:
                self._begin_again(request)
                begun += 1
        return begun

    def _begin_again(self, request: CurlRequest) -> None:
        job: Job = request.owner
        job.in_flight -= 1
        if job.is_abandoned:
            return
        now = time.monotonic()
        try:
            ttl_left(request.message, now=now)
            name = (request.target.host, request.target.port)
            known = self._addresses.find(*name, now=now)
            if known is None or known.failure is not None:
                raise ConnectionError("the host's addresses are not known any more")
            self._begin(request, known, self._flight.host(name))
        except Exception as error:
            job.answer(request.message, outcome_of_error(error), now=now)

    def _finish(self, transfer: Transfer, code: int, words: str) -> None:
        now = time.monotonic()
        assert transfer.request is not None
        host: Host = transfer.request.host
        if code == 0 or transfer.has_answered:
            self._flight.note_answer(transfer, now=now)
            seconds = now - transfer.began_at
            if host.answered(seconds, now=now):
                host.recount(is_http2=transfer.is_http2, now=now)
            try:
                outcome = outcome_of_answer(transfer, seconds=seconds)
            except Exception as error:
                outcome = outcome_of_error(error)
            self._settle(self._flight.end(transfer), outcome, now)
            return
        is_kept = self._flight.is_on_kept_connection(transfer)
        may_repeat = was_not_processed(code, words, transfer, is_kept=is_kept, is_http1=host.is_http1)
        outcome = outcome_of_failure(code, words, transfer)
        began_at = transfer.began_at
        request = self._flight.end(transfer)
        job: Job = request.owner
        if may_repeat:
            host.refused(began_at=began_at, now=now)
            if request.repeats < _MAX_REPEATS and not host.is_refusing and not job.is_abandoned:
                request.repeats += 1
                self._again.append(request)
                return
        host.failed()
        self._settle(request, outcome, now)

    def _settle(self, request: CurlRequest, outcome: Outcome, now: float) -> None:
        job: Job = request.owner
        has_topic = request.message.topic is not None and not request.is_without_topic
        if outcome.reason is Reason.BAD_TOPIC and has_topic and not job.is_abandoned:
            try:
                self._preparation.take_out_topic(request, now=now)
            except Exception as error:
                outcome = outcome_of_error(error)
            else:
                self._again.append(request)
                return
        job.in_flight -= 1
        job.answer(request.message, outcome, now=now)

    def _look(self, now: float) -> None:
        for transfer in self._patience.late_ones(self._flight, now=now):
            self._finish(transfer, pycurl.E_OPERATION_TIMEDOUT, "")
        for job in self._jobs:  # those that wait for their time or for room are not asked in each turn
            job.may_go_on()

    def _report(self, now: float) -> None:
        is_any_over = False
        for job in self._jobs:
            job.report(now=now)
            if job.is_over:
                job.end()
                is_any_over = True
        if is_any_over:
            self._jobs = deque(job for job in self._jobs if not job.is_over)

    def fail_all(self, outcome: Outcome) -> None:
        """Give this outcome to every message of every job that has none."""
        begun: dict[int, list[PushMessage]] = {}
        for request in [*(transfer.request for transfer in self._flight), *self._again]:
            if request is not None:
                begun.setdefault(id(request.owner), []).append(request.message)
        for job, prepared in self._parking:
            begun.setdefault(id(job), []).append(prepared.message)
        for job in self._jobs:
            job.fail(outcome, begun.get(id(job), []))
        self._jobs.clear()
