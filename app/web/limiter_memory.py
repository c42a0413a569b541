"""Where rate limits are counted without Redis: in this process, for a bounded number of clients.

limits' own memory storage keeps every client it ever saw, and walks through all of them after each request.
"""

import threading
import time
from array import array
from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass, field

from limits.storage import MemoryStorage

SCHEME = "bounded-memory"
# Some 20 MB. Beyond it, who was silent for longest is forgotten.
MAX_CLIENTS = 50_000


@dataclass(slots=True)
class _Window:
    expires_at: float = 0.0
    hits: "array[float]" = field(default_factory=lambda: array("d"))  # Unix times, the oldest first


class BoundedMemory(MemoryStorage):
    """limits' moving window, the only strategy used here, as one ordered table of clients."""

    STORAGE_SCHEME = [SCHEME]  # noqa: RUF012 - limits declares it so

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **options: str) -> None:
        super().__init__(uri, wrap_exceptions, **options)
        self._windows: OrderedDict[str, _Window] = OrderedDict()  # who asked last stands last
        self._lock = threading.Lock()

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount` requests if they make no more than `limit` in `expiry` seconds; tell whether it did."""
        now = time.time()
        with self._lock:
            window = self._windows.setdefault(key, _Window())
            self._windows.move_to_end(key)
            _forget(window.hits, before=now - expiry)
            is_allowed = len(window.hits) + amount <= limit
            if is_allowed:
                window.hits.extend([now] * amount)
                window.expires_at = now + expiry
            self._make_room(now)
        return is_allowed

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:  # noqa: ARG002 - limits'
        """Return when the oldest request that counts was made (Unix time), and how many count."""
        now = time.time()
        with self._lock:
            window = self._windows.get(key)
            if window is None:
                return now, 0
            _forget(window.hits, before=now - expiry)
            return (window.hits[0] if window.hits else now), len(window.hits)

    def clear(self, key: str) -> None:
        with self._lock:
            self._windows.pop(key, None)

    def reset(self) -> int | None:
        with self._lock:
            count = len(self._windows)
            self._windows.clear()
        return count

    def _make_room(self, now: float) -> None:
        """Drop the clients at the front that no longer count, two at a time so that they never pile up."""
        for _ in range(2):
            first = next(iter(self._windows))
            if len(self._windows) <= MAX_CLIENTS and self._windows[first].expires_at > now:
                return
            if len(self._windows) == 1:
                return
            del self._windows[first]


def _forget(hits: "array[float]", *, before: float) -> None:
    del hits[: bisect_left(hits, before)]
