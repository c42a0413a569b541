"""Which addresses the curl sender may connect to: looked up and checked off the sending thread, and kept a while.

libcurl is told the addresses with every name it meets, so it never asks a resolver itself; and each socket it opens
is asked about here once more.
"""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from app.push.address import ADDRESS_LIFE_SECONDS, CheckedAddress

# Looked up again in the background from here on, so that a busy service is never waited for.
_REFRESHED_AFTER_SECONDS = 60.0
_FAILURE_LIFE_SECONDS = 2.0
_LOOK_UPS_AT_ONCE = 16
# One that takes longer than that is not counted among them: a name server that is away holds up its own names only.
_HANGS_AFTER_SECONDS = 1.0
_MAX_THREADS = 128
_MAX_NAMES = 1024

Name = tuple[str, int]
Resolve = Callable[[str, int], Sequence[CheckedAddress]]


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What a look-up said: addresses in libcurl's own notation, or what went wrong. Each is itself only."""

    fresh_until: float
    good_until: float
    for_libcurl: list[str] = field(default_factory=list)
    failure: Exception | None = None


class AddressBook:
    """Names and their checked addresses. `on_news` is called from another thread whenever a look-up has ended."""

    def __init__(self, resolve: Resolve, *, on_news: Callable[[], None]) -> None:
        self._resolve = resolve
        self._on_news = on_news
        self._lock = threading.Lock()
        self._known: dict[Name, Known] = {}
        self._checked: dict[Name, float] = {}  # address and port: until when it may be connected to
        self._looking_up: dict[Name, float] = {}  # and since when; infinity: it waits for a thread
        self._queue: deque[Name] = deque()
        self._threads = 0

    def find(self, host: str, port: int, *, now: float) -> Known | None:
        """Return what is known of a name; None while it is being looked up, and `on_news` will tell the end.

        Ask now and then all the same: it is what gives a name its turn beside look-ups that hang.
        """
        name = (host, port)
        known = self._known.get(name)
        if known is not None and now < known.fresh_until:
            return known
        self._look_up(name)
        return known if known is not None and now < known.good_until else None

    def is_checked(self, ip: str, port: int) -> bool:
        """Tell whether a socket to this address is one of those that a look-up found good, not long ago."""
        return self._checked.get((ip, port), 0.0) > time.monotonic()

    def _look_up(self, name: Name) -> None:
        with self._lock:
            if name not in self._looking_up:
                self._looking_up[name] = inf
                self._queue.append(name)
            if not self._queue or not self._may_start_a_thread():
                return
            self._threads += 1
        # A daemon, and no pool: a resolver that hangs must not hold up the end of the process.
        thread = threading.Thread(target=self._work, name="push-resolver", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more of them; the name stays in the queue, and is asked for again
            with self._lock:
                self._threads -= 1

    def _may_start_a_thread(self) -> bool:
        if self._threads < _LOOK_UPS_AT_ONCE:
            return True
        hanging_since = time.monotonic() - _HANGS_AFTER_SECONDS
        hanging = sum(since < hanging_since for since in self._looking_up.values())
        return self._threads - hanging < _LOOK_UPS_AT_ONCE and self._threads < _MAX_THREADS

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._threads -= 1
                    return
                name = self._queue.popleft()
                self._looking_up[name] = time.monotonic()
            known = self._answer(name)
            with self._lock:
                self._keep(name, known)
                del self._looking_up[name]
            self._on_news()

    def _answer(self, name: Name) -> Known:
        host, port = name
        try:
            addresses = self._resolve(host, port)
        except Exception as error:  # an odd name makes getaddrinfo raise more than OSError
            retry_at = time.monotonic() + _FAILURE_LIFE_SECONDS
            known = self._known.get(name)
            if known is not None and isinstance(error, socket.gaierror) and time.monotonic() < known.good_until:
                return replace(known, fresh_until=retry_at)
            return Known(retry_at, retry_at, failure=error)
        now = time.monotonic()
        self._allow(addresses, until=now + ADDRESS_LIFE_SECONDS)
        literals = ",".join(f"[{each.ip}]" if ":" in each.ip else each.ip for each in addresses)
        # The plus lets libcurl forget it in its own time, long after we have told it anew.
        told = [f"+{host}:{port}:{literals}"]
        return Known(now + _REFRESHED_AFTER_SECONDS, now + ADDRESS_LIFE_SECONDS, told)

    def _allow(self, addresses: Sequence[CheckedAddress], *, until: float) -> None:
        with self._lock:
            if len(self._checked) >= _MAX_NAMES:
                now = time.monotonic()
                self._checked = {each: its_end for each, its_end in self._checked.items() if its_end > now}
            for address in addresses:
                self._checked[address.ip, address.port] = until

    def _keep(self, name: Name, known: Known) -> None:
        self._known.pop(name, None)
        while len(self._known) >= _MAX_NAMES:
            del self._known[next(iter(self._known))]
        self._known[name] = known
