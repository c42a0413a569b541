"""How much may be in flight to one push service's host: what keeps it busy, and little more.

That is the answers of one latency: as many a second as there are, times the shortest latency seen lately. Twice
that many are let in flight, and a few more. A longer latency means that requests queue, there or here; they had
better queue in the database.
"""

from dataclasses import dataclass
from math import inf

from app.push.curl_connections import CONNECTIONS_PER_HOST, STREAMS_PER_CONNECTION

MAX_IN_FLIGHT_PER_HOST = 512
# From here it grows by one with each answer. So a new connection is seldom given more than one request before it
# has said how many it takes.
FIRST_IN_FLIGHT_PER_HOST = 64
_HEADROOM = 2.0
_RECOUNTED_AFTER_SECONDS = 0.1
# Then the shortest latency is measured anew, with few in flight: with many it may be that of our own queue.
_MEASURED_ANEW_AFTER_SECONDS = 10.0
_MEASURED_ANEW_AFTER_LATENCIES = 20.0  # not sooner: far away, it would be measuring most of the time
_LATENCIES_TO_DRAIN = 3.0
_MOST_REFUSALS_IN_A_ROW = 16


@dataclass(slots=True, eq=False)
class Host:
    """What we know of one push service's host and port. Times are those of time.monotonic()."""

    in_flight: int = 0
    limit: int = FIRST_IN_FLIGHT_PER_HOST
    is_http1: bool = False
    is_http2: bool = False  # neither is known before the first answer
    busy_since_burst: int = 0
    _wanted: int = FIRST_IN_FLIGHT_PER_HOST  # where the limit is on its way to
    _answers: int = 0
    _counted_since: float = 0.0
    _recount_at: float = -inf
    _shortest_seconds: float = inf
    _shortest_before_seconds: float = inf
    _measure_anew_at: float = inf
    _lowered_at: float = 0.0
    _refusals_in_a_row: int = 0

    @property
    def connections(self) -> int:
        """How many connections what is in flight takes, about and at most."""
        if self.is_http2:
            return -(-self.in_flight // STREAMS_PER_CONNECTION)
        return min(self.in_flight, CONNECTIONS_PER_HOST)

    @property
    def is_refusing(self) -> bool:
        """Whether it has refused so often without an answer that it is no use to send anything again at once."""
        return self._refusals_in_a_row >= _MOST_REFUSALS_IN_A_ROW

    def answered(self, seconds: float, *, now: float) -> bool:
        """Note an answer that took so long; tell whether `recount` is due. Called for every answer."""
        self._answers += 1
        self._refusals_in_a_row = 0
        self._shortest_seconds = min(self._shortest_seconds, seconds)
        if self.limit < self._wanted:
            self.limit += 1
        return now >= self._recount_at

    def recount(self, *, is_http2: bool, now: float) -> None:
        """Take in what the answers since the last time say; `is_http2` is of the newest."""
        self.is_http2, self.is_http1 = is_http2, not is_http2
        shortest_seconds = min(self._shortest_seconds, self._shortest_before_seconds)
        if self._recount_at == -inf:
            self._measure_anew_at = now + _MEASURED_ANEW_AFTER_SECONDS
            self._want(FIRST_IN_FLIGHT_PER_HOST)
        else:
            in_one_latency = self._answers / (now - self._counted_since) * shortest_seconds
            self._want(round(_HEADROOM * in_one_latency) + FIRST_IN_FLIGHT_PER_HOST)
        self._answers = 0
        self._counted_since = now
        # Answers may come in waves, one each latency.
        self._recount_at = now + max(_RECOUNTED_AFTER_SECONDS, shortest_seconds)
        if now >= self._measure_anew_at:
            self._measure_anew(now, shortest_seconds)

    def failed(self) -> None:
        """Note that a request got no answer: it took too long, or its connection broke."""
        self._want(FIRST_IN_FLIGHT_PER_HOST)

    def refused(self, *, began_at: float, now: float) -> None:
        """Note that the push service did not take a request that began then."""
        # Those that began together are refused together: that is one refusal.
        if began_at > self._lowered_at:
            self._lowered_at = now
            self._refusals_in_a_row += 1
            self.limit = max(self.limit // 2, 1)

    def _measure_anew(self, now: float, shortest_seconds: float) -> None:
        self._shortest_before_seconds, self._shortest_seconds = self._shortest_seconds, inf
        self._want(FIRST_IN_FLIGHT_PER_HOST)
        self._recount_at = now + max(_RECOUNTED_AFTER_SECONDS, _LATENCIES_TO_DRAIN * shortest_seconds)
        self._measure_anew_at = now + max(
            _MEASURED_ANEW_AFTER_SECONDS, _MEASURED_ANEW_AFTER_LATENCIES * shortest_seconds
        )

    def _want(self, wanted: int) -> None:
        # HTTP/1.1 carries one request on a connection: more of them would only wait inside libcurl.
        most = CONNECTIONS_PER_HOST if self.is_http1 else MAX_IN_FLIGHT_PER_HOST
        self._wanted = min(wanted, most)
        self.limit = min(self.limit, self._wanted)
