"""All of a sender's connections: libcurl's multi interface, driven by the sockets that have something to say.

It knows transfers that begin and end, and nothing of push messages. Used by one thread; any other may `wake` it.

Each host has a multi handle of its own. In a common one, transfers that wait for a connection stand in one queue,
and libcurl looks at its head only: a host that hangs there would let no other host begin.
"""

import os
import selectors
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from app.push.curl_addresses import Name
from app.push.curl_library import pycurl

# A push service allows about 100 streams on a connection; its SETTINGS may say less.
STREAMS_PER_CONNECTION = 100
CONNECTIONS_PER_HOST = 32
_MAX_IDLE_HOSTS = 16

Finished = tuple[Any, int, str]


class HostConnections:
    """The connections to one host. `answered_at` tells by their number when each last answered."""

    def __init__(self, name: Name, *, watch: Callable[..., None], set_timer: Callable[..., None]) -> None:
        self.name = name
        self.transfers = 0
        self.answered_at: dict[int, float] = {}
        self.multi = multi = pycurl.CurlMulti()
        multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        multi.setopt(pycurl.M_MAX_CONCURRENT_STREAMS, STREAMS_PER_CONNECTION)
        multi.setopt(pycurl.M_MAX_TOTAL_CONNECTIONS, CONNECTIONS_PER_HOST)
        multi.setopt(pycurl.M_MAXCONNECTS, CONNECTIONS_PER_HOST)
        multi.setopt(pycurl.M_SOCKETFUNCTION, partial(watch, self))
        multi.setopt(pycurl.M_TIMERFUNCTION, partial(set_timer, self))

    def finished(self) -> list[Finished]:
        finished: list[Finished] = []
        waiting = 1
        while waiting:
            waiting, answered, failed = self.multi.info_read()
            finished += [(curl, 0, "") for curl in answered]
            finished += failed
        return finished


class Connections:
    """Transfers in flight and the connections they share."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waker, False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._watched: dict[int, int] = {}  # libcurl's sockets, and what is awaited of them
        self._timers: dict[HostConnections, float] = {}  # when libcurl wants to be called
        self._hosts: dict[Name, HostConnections] = {}
        self._idle: dict[Name, HostConnections] = {}  # likewise, the longest idle first

    def to(self, name: Name) -> HostConnections:
        """Return the connections to a host: others than before, if it has been idle for long."""
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = HostConnections(name, watch=self._watch, set_timer=self._set_timer)
        return host

    def begin(self, curl: Any, host: HostConnections) -> None:
        """Let a transfer to this host begin with the next `run`; `curl.host` is where."""
        host.multi.add_handle(curl)
        curl.host = host
        host.transfers += 1
        if host.transfers == 1:
            self._idle.pop(host.name, None)

    def end(self, curl: Any) -> None:
        """Take a transfer out, finished or not."""
        host: HostConnections = curl.host
        host.multi.remove_handle(curl)
        host.transfers -= 1
        if host.transfers == 0:
            self._idle[host.name] = host
            if len(self._idle) > _MAX_IDLE_HOSTS:
                self._close(next(iter(self._idle.values())))

    def run(self, wait_seconds: float) -> list[Finished]:
        """Move the transfers on; return those that are over, each with libcurl's code (0: answered) and words.

        Waits so long at most for anything to happen.
        """
        if self._timers:
            wait_seconds = max(min(wait_seconds, min(self._timers.values()) - time.monotonic()), 0)
        moved: dict[HostConnections, None] = {}
        for key, events in self._selector.select(wait_seconds):
            if key.fd == self._woken:
                self._forget_wakes()
            else:
                key.data.multi.socket_action(key.fd, _curl_events(events))
                moved[key.data] = None
        if self._timers:
            now = time.monotonic()
            for host in [host for host, due_at in self._timers.items() if now >= due_at]:
                del self._timers[host]
                host.multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
                moved[host] = None
        return [finished for host in moved for finished in host.finished()]

    def wake(self) -> None:
        """End the waiting in `run`, now or the next time. Any thread may say so."""
        with suppress(BlockingIOError):  # it has been told often enough
            os.write(self._waker, b"\0")

    def close(self) -> None:
        """Close every connection. There must be no transfer left, and nobody may `wake` any more."""
        for host in list(self._hosts.values()):
            self._close(host)
        self._selector.close()
        os.close(self._woken)
        os.close(self._waker)

    def _close(self, host: HostConnections) -> None:
        host.multi.close()
        self._timers.pop(host, None)
        self._idle.pop(host.name, None)
        del self._hosts[host.name]

    def _watch(self, host: HostConnections, what: int, fd: int, _multi: Any, _data: Any) -> None:
        events = 0 if what == pycurl.POLL_REMOVE else _selector_events(what)
        before = self._watched.pop(fd, 0)
        if events:
            self._watched[fd] = events
        if events == before:
            return
        if not events:
            self._selector.unregister(fd)
        elif not before:
            self._selector.register(fd, events, host)
        else:
            self._selector.modify(fd, events, host)

    def _set_timer(self, host: HostConnections, milliseconds: int) -> None:
        if milliseconds < 0:
            self._timers.pop(host, None)
        else:
            self._timers[host] = time.monotonic() + milliseconds / 1000

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
