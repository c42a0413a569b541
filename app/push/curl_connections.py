"""All of a sender's connections: libcurl's multi interface, driven by the sockets that have something to say.

It knows transfers that begin and end, and nothing of push messages. Used by one thread; any other may `wake` it.
"""

import os
import selectors
import time
from contextlib import suppress
from typing import Any

from app.push.curl_library import pycurl

# A push service allows about 100 streams on a connection; its SETTINGS may say less.
STREAMS_PER_CONNECTION = 100
CONNECTIONS_PER_HOST = 32
CONNECTIONS = 256

Finished = tuple[Any, int, str]


class Connections:
    """Transfers in flight and the connections they share."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waker, False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._watched: dict[int, int] = {}  # libcurl's sockets, and what is awaited of them
        self._timer_due_at: float | None = None
        self._multi = multi = pycurl.CurlMulti()
        multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        multi.setopt(pycurl.M_MAX_CONCURRENT_STREAMS, STREAMS_PER_CONNECTION)
        multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, CONNECTIONS_PER_HOST)
        multi.setopt(pycurl.M_MAX_TOTAL_CONNECTIONS, CONNECTIONS)
        multi.setopt(pycurl.M_MAXCONNECTS, CONNECTIONS)
        multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)

    def begin(self, curl: Any) -> None:
        """Let a transfer begin with the next `run`."""
        self._multi.add_handle(curl)

    def end(self, curl: Any) -> None:
        """Take a transfer out, finished or not."""
        self._multi.remove_handle(curl)

    def run(self, wait_seconds: float) -> list[Finished]:
        """Move the transfers on; return those that are over, each with libcurl's code (0: answered) and words.

        Waits so long at most for anything to happen.
        """
        now = time.monotonic()
        if self._timer_due_at is not None:
            wait_seconds = max(min(wait_seconds, self._timer_due_at - now), 0)
        for key, events in self._selector.select(wait_seconds):
            if key.fd == self._woken:
                self._forget_wakes()
            else:
                self._multi.socket_action(key.fd, _curl_events(events))
        if self._timer_due_at is not None and time.monotonic() >= self._timer_due_at:
            self._timer_due_at = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        return self._finished()

    def wake(self) -> None:
        """End the waiting in `run`, now or the next time. Any thread may say so."""
        with suppress(BlockingIOError):  # it has been told often enough
            os.write(self._waker, b"\0")

    def close(self) -> None:
        """Close every connection. There must be no transfer left, and nobody may `wake` any more."""
        self._multi.close()
        self._selector.close()
        os.close(self._woken)
        os.close(self._waker)

    def _finished(self) -> list[Finished]:
        finished: list[Finished] = []
        waiting = 1
        while waiting:
            waiting, answered, failed = self._multi.info_read()
            finished += [(curl, 0, "") for curl in answered]
            finished += failed
        return finished

    def _watch(self, what: int, fd: int, _multi: Any, _data: Any) -> None:
        events = 0 if what == pycurl.POLL_REMOVE else _selector_events(what)
        before = self._watched.pop(fd, 0)
        if events:
            self._watched[fd] = events
        if events == before:
            return
        if not events:
            self._selector.unregister(fd)
        elif not before:
            self._selector.register(fd, events)
        else:
            self._selector.modify(fd, events)

    def _set_timer(self, milliseconds: int) -> None:
        self._timer_due_at = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000

    def _forget_wakes(self) -> None:
        with suppress(BlockingIOError):  # all are read
            while len(os.read(self._woken, 4096)) == 4096:
                pass


def _selector_events(what: int) -> int:
    wants_in = selectors.EVENT_READ if what & pycurl.POLL_IN else 0
    wants_out = selectors.EVENT_WRITE if what & pycurl.POLL_OUT else 0
    return wants_in | wants_out


def _curl_events(events: int) -> int:
    wants_in = pycurl.CSELECT_IN if events & selectors.EVENT_READ else 0
    wants_out = pycurl.CSELECT_OUT if events & selectors.EVENT_WRITE else 0
    return int(wants_in | wants_out)
