"""The sending thread: one for each process, because encrypting in two threads is slower than in one."""

import logging
import threading
from collections import deque
from collections.abc import Callable

from app.push.curl_addresses import AddressBook, Resolve
from app.push.curl_connections import Connections
from app.push.curl_flight import Flight
from app.push.curl_job import Job
from app.push.curl_loop import CurlLoop
from app.push.curl_request import Preparation
from app.push.curl_transfer import Wire
from app.push.outcome import Outcome, Reason, Verdict
from app.push.sender import Timeouts

_log = logging.getLogger(__name__)

_DIED = Outcome(Verdict.RETRY, Reason.INTERNAL_ERROR, detail="the sending thread died")


class CurlThread:
    """A thread with all the connections of a process; its methods are for every other thread."""

    def __init__(
        self, preparation: Preparation, *, resolve: Resolve, wire: Callable[[AddressBook], Wire], timeouts: Timeouts
    ) -> None:
        self._lock = threading.Lock()
        self._submitted: deque[Job] = deque()
        self._is_closing = False
        self._is_over = False
        self._connections = Connections()
        addresses = AddressBook(resolve, on_news=self.wake)
        self._flight = Flight(self._connections, wire(addresses))
        self._loop = CurlLoop(
            preparation,
            addresses=addresses,
            connections=self._connections,
            flight=self._flight,
            timeouts=timeouts,
        )
        self._thread = threading.Thread(target=self._run, name="push-sender", daemon=True)
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        """Whether it has said its last word to everybody. In a process that was forked off, it has."""
        return not self._thread.is_alive()

    def submit(self, job: Job) -> bool:
        """Take a job on; False when this thread takes no more."""
        with self._lock:
            if self._is_closing or self._is_over or self.has_ended:
                return False
            self._submitted.append(job)
            self._connections.wake()
        return True

    def wake(self) -> None:
        """Make the thread look around: addresses are known, or a job was abandoned."""
        with self._lock:
            if not self._is_over:
                self._connections.wake()

    def close(self) -> None:
        """Begin nothing more, and return when what was in flight has its outcome and the connections are closed."""
        with self._lock:
            self._is_closing = True
        self.wake()
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._take_on_jobs():
                self._loop.turn()
        except BaseException as error:
            # The class only: an error's text may hold an endpoint.
            _log.critical("the sending thread died: %s", type(error).__name__)
        finally:
            self._end()

    def _take_on_jobs(self) -> bool:
        """Take on what was submitted; False when the thread is closed and nothing is left to be waited for."""
        while self._submitted:
            self._loop.take_on(self._submitted.popleft())
        if self._is_closing:
            self._loop.begin_no_more()
        return not self._is_closing or self._loop.has_work

    def _end(self) -> None:
        with self._lock:
            self._is_over = True
        while self._submitted:
            self._loop.take_on(self._submitted.popleft())
        self._loop.fail_all(_DIED)
        self._flight.close()
        self._connections.close()
