"""What came for each endpoint, for a sink that has to tell who got nothing and who got something twice."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple


class Head(NamedTuple):
    """Of a post's head, what counting needs."""

    path: str
    host: str  # with the port
    topic: str | None = None  # RFC 8030: our senders give each notification one of its own
    ttl: str | None = None


@dataclass(slots=True)
class Arrival:
    """One message for one endpoint, however often it was posted. Times are Unix time."""

    accepted: int = 0
    last_accepted_at: float = 0.0
    untold: int = 0  # of those accepted, as many as the sender may not have heard of
    posts: int = 0  # with those that were answered otherwise, or not at all
    shortest_ttl: int | None = None
    longest_ttl: int | None = None

    def add(self, *, accepted: bool, untold: bool, ttl: str | None, at: float) -> None:
        self.posts += 1
        self.untold += untold
        if accepted:
            self.accepted += 1
            self.last_accepted_at = at
        if ttl is not None and ttl.isdecimal():
            seconds = int(ttl)
            self.shortest_ttl = seconds if self.shortest_ttl is None else min(self.shortest_ttl, seconds)
            self.longest_ttl = seconds if self.longest_ttl is None else max(self.longest_ttl, seconds)


class Arrivals:
    """Arrivals by endpoint and topic."""

    def __init__(self) -> None:
        self._arrivals: dict[tuple[str, str, str | None], Arrival] = {}

    def add(self, head: Head, *, accepted: bool, at: float, untold: bool = False) -> None:
        key = (head.host, head.path, head.topic)
        arrival = self._arrivals.get(key)
        if arrival is None:
            arrival = self._arrivals[key] = Arrival()
        arrival.add(accepted=accepted, untold=untold, ttl=head.ttl, at=at)

    def cut_off(self, head: Head) -> None:
        """Note that the answer to this post, which was accepted, may have been lost."""
        arrival = self._arrivals.get((head.host, head.path, head.topic))
        if arrival is not None:  # it is from before the last reset
            arrival.untold += 1

    def as_json(self, topic: str | None) -> Iterator[dict[str, Any]]:
        """Yield what came with this topic; without one, everything."""
        for (host, path, its_topic), arrival in self._arrivals.items():
            if topic in (None, its_topic):
                yield {
                    "host": host,
                    "path": path,
                    "topic": its_topic,
                    "accepted": arrival.accepted,
                    "untold": arrival.untold,
                    "last_accepted_at": arrival.last_accepted_at,
                    "posts": arrival.posts,
                    "shortest_ttl": arrival.shortest_ttl,
                    "longest_ttl": arrival.longest_ttl,
                }
