"""What a simulator counts while it runs."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Counts:
    """Numbers since the start or the last reset. A post is a request to an endpoint, whatever became of it."""

    posts: int = 0
    accepted: int = 0  # given to a browser; with checks="none" every post that was answered as usual
    refused: int = 0  # by the rules
    faults: int = 0  # treated by the script instead
    body_bytes: int = 0
    statuses: Counter[int] = field(default_factory=Counter)  # as answered
    posts_by_http_version: Counter[str] = field(default_factory=Counter)
    connections_by_http_version: Counter[str] = field(default_factory=Counter)
    tcp_connections: int = 0  # with those whose TLS handshake failed or is under way
    undecryptable: int = 0
    repeats: int = 0  # messages that a browser had received before with the same plaintext

    @property
    def connections(self) -> int:
        """Connections on which HTTP could be spoken."""
        return self.connections_by_http_version.total()

    @property
    def unfinished_handshakes(self) -> int:
        """TLS handshakes that failed, such as at a client that refused our certificate, or are under way."""
        return self.tcp_connections - self.connections

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
            "repeats": self.repeats,
        }
