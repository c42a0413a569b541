"""How many posts the threaded sender has under way to each host, so that no host takes another's room."""

from collections import Counter
from threading import Lock


class Shares:
    """Counts posts by host. Used by several threads.

    A host has at most `per_host`. From `crowded` in all, whoever has `small` or more begins none.
    """

    def __init__(self, *, per_host: int, crowded: int, small: int) -> None:
        self._per_host = per_host
        self._crowded = crowded
        self._small = small
        self._lock = Lock()
        self._under_way: Counter[str] = Counter()

    def take(self, host: str) -> bool:
        """Count one more to this host, or return False."""
        with self._lock:
            own = self._under_way[host]
            is_crowded = self._under_way.total() >= self._crowded
            if own >= (self._small if is_crowded else self._per_host):
                return False
            self._under_way[host] += 1
            return True

    def give_back(self, host: str) -> None:
        """Count one less to this host."""
        with self._lock:
            self._under_way[host] -= 1
            if not self._under_way[host]:
                del self._under_way[host]
