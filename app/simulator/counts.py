"""What a simulator counts while it runs."""

from collections import Counter
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Self

from app.simulator.browsers import Browsers


@dataclass(slots=True)
class Counts:
    """Numbers since the start or the last reset. A post is a request to an endpoint, whatever became of it."""

    browsers: Browsers = field(repr=False)
    posts: int = 0
    accepted: int = 0  # given to a browser; with checks="none" every post that was answered as usual
    refused: int = 0  # by the rules
    faults: int = 0  # treated by the script instead
    body_bytes: int = 0
    statuses: Counter[int] = field(default_factory=Counter)  # as answered
    posts_by_http_version: Counter[str] = field(default_factory=Counter)
    connections_by_http_version: Counter[str] = field(default_factory=Counter)
    tcp_connections: int = 0  # with those whose TLS handshake failed or is under way

    @property
    def connections(self) -> int:
        """Connections on which HTTP could be spoken."""
        return self.connections_by_http_version.total()

    @property
    def unfinished_handshakes(self) -> int:
        """TLS handshakes that failed, such as at a client that refused our certificate, or are under way."""
        return self.tcp_connections - self.connections

    @property
    def undecryptable(self) -> int:
        """Accepted messages that the browsers cannot read, as of now. Decrypts what nobody has looked at yet."""
        return sum(len(browser.undecryptable) for browser in self.browsers)

    @property
    def unshowable(self) -> int:
        """Messages that Safari would drop, as of now. Decrypts likewise."""
        return sum(len(browser.unshowable) for browser in self.browsers)

    @property
    def repeats(self) -> int:
        """Messages that a browser had received before with the same plaintext, as of now. Decrypts likewise."""
        return sum(browser.repeats for browser in self.browsers)

    def snapshot(self) -> Self:
        counts = copy(self)
        counts.statuses = Counter(self.statuses)
        counts.posts_by_http_version = Counter(self.posts_by_http_version)
        counts.connections_by_http_version = Counter(self.connections_by_http_version)
        return counts

    def as_json(self) -> dict[str, Any]:
        return {
            "posts": self.posts,
            "accepted": self.accepted,
            "refused": self.refused,
            "faults": self.faults,
            "body_bytes": self.body_bytes,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "posts_by_http_version": dict(self.posts_by_http_version),
            "connections_by_http_version": dict(self.connections_by_http_version),
            "connections": self.connections,
            "unfinished_handshakes": self.unfinished_handshakes,
            "undecryptable": self.undecryptable,
            "unshowable": self.unshowable,
            "repeats": self.repeats,
        }
