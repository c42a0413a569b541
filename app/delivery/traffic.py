"""What this process sees of the push services: what runs in each lane, and how they answered lately.

It only saves time: what decides is in the database, where service_states.py keeps it for all processes.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Set
from contextlib import contextmanager

from app.delivery.lanes import Lane
from app.delivery.pace import Tally


class Traffic:
    """Shared by all threads that send, requests' and workers'."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[Lane, list[Callable[[], None]]] = defaultdict(list)
        self._carried: dict[Lane, Tally] = {}
        self._throttled: dict[Lane, set[str]] = defaultdict(set)
        self._paused_until: dict[Lane, float] = {}
        self._answering: set[str] = set()

    @contextmanager
    def under_way(self, lane: Lane, stop: Callable[[], None]) -> Iterator[None]:
        """Count a batch of the lane for the length of a `with`; `stop` is called when the lane is paused."""
        with self._lock:
            self._under_way[lane].append(stop)
        try:
            yield
        finally:
            with self._lock:
                self._under_way[lane].remove(stop)
                if not self._under_way[lane]:
                    del self._under_way[lane]

    def batches_in(self, lane: Lane) -> int:
        with self._lock:
            return len(self._under_way.get(lane, ()))

    def carried(self, lane: Lane) -> Tally:
        """Return what the lane answered since anything was accepted: small batches add up."""
        with self._lock:
            return self._carried.get(lane, Tally())

    def throttled(self, lane: Lane) -> Set[str]:
        """Return the subscriptions whose refusals are carried: said again, that is about them, not the lane."""
        with self._lock:
            return frozenset(self._throttled.get(lane, ()))

    def has_answered(self, endpoint_host: str) -> bool:
        """Return whether the host has accepted something, and was not paused since."""
        with self._lock:
            return endpoint_host in self._answering

    def saw(self, lane: Lane, tally: Tally, throttled: Collection[str] = ()) -> None:
        """Remember answers that called for no pause, and which subscriptions were throttled."""
        with self._lock:
            if tally.accepted:
                self._answering.add(lane.endpoint_host)
                self._forget_carried(lane)
            elif tally.answered:
                self._carried[lane] = self._carried.get(lane, Tally()) + tally
                self._throttled[lane].update(throttled)

    def pause(self, lane: Lane, seconds: float) -> bool:
        """Stop what runs in the lane. False when it was paused already."""
        now = time.monotonic()
        with self._lock:
            is_news = self._paused_until.get(lane, 0.0) <= now
            self._paused_until[lane] = max(self._paused_until.get(lane, 0.0), now + seconds)
            self._answering.discard(lane.endpoint_host)
            self._forget_carried(lane)
            stops = list(self._under_way.get(lane, ()))
        for stop in stops:
            stop()
        return is_news

    def resume(self, lane: Lane) -> None:
        """Forget that the lane was paused."""
        with self._lock:
            self._paused_until.pop(lane, None)

    def _forget_carried(self, lane: Lane) -> None:
        self._carried.pop(lane, None)
        self._throttled.pop(lane, None)
