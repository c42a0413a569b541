"""Berths: how many batches run at once in this process, and for whom: no push service takes up all of it."""

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable

from app.delivery.lanes import Lane, OpenLane
from app.observability.metrics import service_label

# Two batches of one host keep the sender full: while the last answers of one come in, the other goes on. A third
# would only cost, 10 us more for each delivery.
BERTHS_PER_HOST = 2


class Berths:
    """Counts what runs, and chooses what is next. Safe to use from several threads.

    A host gets its second berth once it has answered here. One kind of push service, which may have dozens of
    hosts, gets half of the berths at most, and those that had to be paused get a quarter, all together: if they
    hang, there is room beside them.
    """

    def __init__(self, count: int, *, has_answered: Callable[[str], bool]) -> None:
        self._of_a_service = max(BERTHS_PER_HOST, count // 2)
        self._of_the_troubled = max(1, count // 4)
        self._has_answered = has_answered
        self._lock = threading.Lock()
        self._entries = 0
        self._entered_at: dict[str | Lane, int] = {}
        self._running: Counter[str] = Counter()
        self._by_service: Counter[str] = Counter()
        self._troubled = 0

    @property
    def taken(self) -> int:
        with self._lock:
            return self._running.total()

    def enter(self, lanes: Iterable[OpenLane], *, by_turns: bool = False) -> OpenLane | None:
        """Take a berth for one of the lanes, and return it: of the hosts with room, the one with the least to do.

        Among those, the lane whose notification has got the least so far; then the host, and the lane of it, whose
        turn is longest ago. `by_turns`: only the turns count, not how much a notification has got.
        """
        with self._lock:
            admitted = [open_lane for open_lane in lanes if self._has_room(open_lane)]
            if not admitted:
                return None
            chosen = min(admitted, key=lambda open_lane: self._rank(open_lane, by_turns=by_turns))
            self._entries += 1
            self._entered_at[chosen.lane.endpoint_host] = self._entered_at[chosen.lane] = self._entries
            self._count(chosen, 1)
            return chosen

    def leave(self, open_lane: OpenLane) -> None:
        """Give the berth back."""
        with self._lock:
            self._count(open_lane, -1)

    def have_room_for(self, lanes: Collection[OpenLane]) -> bool:
        with self._lock:
            return any(map(self._has_room, lanes))

    def _has_room(self, open_lane: OpenLane) -> bool:
        host = open_lane.lane.endpoint_host
        is_well = open_lane.strikes == 0 and self._has_answered(host)
        return (
            self._running[host] < (BERTHS_PER_HOST if is_well else 1)
            and self._by_service[service_label(host)] < self._of_a_service
            and (open_lane.strikes == 0 or self._troubled < self._of_the_troubled)
        )

    def _rank(self, open_lane: OpenLane, *, by_turns: bool) -> tuple[int, ...]:
        lane = open_lane.lane
        last_turns = (self._entered_at.get(lane.endpoint_host, 0), self._entered_at.get(lane, 0))
        return self._running[lane.endpoint_host], 0 if by_turns else open_lane.position, *last_turns

    def _count(self, open_lane: OpenLane, change: int) -> None:
        host = open_lane.lane.endpoint_host
        self._running[host] += change
        self._by_service[service_label(host)] += change
        self._troubled += change if open_lane.strikes else 0
        if not self._running[host]:
            del self._running[host]
