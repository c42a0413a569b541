"""What is in flight: how much may be, how long it has been, and the handles that carry it."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from app.push.curl_addresses import Known, Name
from app.push.curl_connections import CONNECTIONS_PER_HOST, Connections
from app.push.curl_request import CurlRequest
from app.push.curl_transfer import Transfer, Wire

# One host that hangs must leave room for the others.
MAX_IN_FLIGHT = 1024
MAX_IN_FLIGHT_PER_HOST = 512
# From here it grows by one with each answer, and falls by half when streams are refused. So a new connection is
# seldom given more than one request before it has said how many it takes.
FIRST_IN_FLIGHT_PER_HOST = 64
_MAX_HOSTS = 1024


@dataclass(slots=True)
class Host:
    """What we know of one push service's host and port."""

    in_flight: int = 0
    limit: int = FIRST_IN_FLIGHT_PER_HOST
    is_http1: bool = False
    busy_since_burst: int = 0
    _lowered_at: float = 0.0

    @property
    def has_room(self) -> bool:
        return self.in_flight < self.limit

    @property
    def is_at_its_best(self) -> bool:
        """Whether another answer would change nothing."""
        return self.limit == MAX_IN_FLIGHT_PER_HOST

    def answered(self, *, is_http2: bool) -> None:
        # HTTP/1.1 carries one request on a connection: more of them would only wait inside libcurl.
        self.is_http1 = not is_http2
        self.limit = min(self.limit + 1, MAX_IN_FLIGHT_PER_HOST) if is_http2 else CONNECTIONS_PER_HOST

    def refused(self, *, began_at: float, now: float) -> None:
        # Those that began together are refused together: that is one refusal.
        if began_at > self._lowered_at:
            self._lowered_at = now
            self.limit = max(self.limit // 2, 1)


class Flight:
    """Begins and ends transfers, and knows those under way, the oldest first."""

    def __init__(self, connections: Connections, wire: Wire) -> None:
        self._connections = connections
        self._wire = wire
        self._spare: list[Transfer] = []
        self._under_way: dict[Transfer, None] = {}
        self._hosts: dict[Name, Host] = {}
        self._answered: dict[int, float] = {}  # when a connection last did
        self._burst = 0

    def __len__(self) -> int:
        return len(self._under_way)

    def __iter__(self) -> Iterator[Transfer]:
        return iter(self._under_way)

    @property
    def has_room(self) -> bool:
        return len(self._under_way) < MAX_IN_FLIGHT

    def host(self, name: Name) -> Host:
        host = self._hosts.get(name)
        if host is None:
            if len(self._hosts) >= _MAX_HOSTS:
                self._hosts = {each: kept for each, kept in self._hosts.items() if kept.in_flight}
            host = self._hosts[name] = Host()
        return host

    def next_burst(self) -> None:
        """Say that what begins from now on is sent together."""
        self._burst += 1

    def begin(self, request: CurlRequest, known: Known, host: Host, *, now: float) -> None:
        """Let a request leave with the next run of the connections. Raises pycurl.error."""
        if host.in_flight == 0:
            host.busy_since_burst = self._burst
        request.after_idle = request.after_idle or host.busy_since_burst == self._burst
        transfer = self._spare.pop() if self._spare else Transfer(self._wire)
        transfer.load(request, known, now=now)
        self._connections.begin(transfer.curl)
        self._under_way[transfer] = None
        request.host = host
        host.in_flight += 1

    def end(self, transfer: Transfer) -> CurlRequest:
        """Take a transfer out, whether it is finished or not, and return its request."""
        request = transfer.request
        assert request is not None
        self._connections.end(transfer.curl)
        del self._under_way[transfer]
        transfer.request = None
        self._spare.append(transfer)
        request.host.in_flight -= 1
        return request

    def note_answer(self, transfer: Transfer, *, now: float) -> None:
        """Remember that a transfer's connection has answered."""
        connection = transfer.connection
        if connection not in self._answered and len(self._answered) >= _MAX_HOSTS:
            del self._answered[min(self._answered)]  # they are numbered in their order
        self._answered[connection] = now

    def is_on_kept_connection(self, transfer: Transfer) -> bool:
        """Tell whether a transfer's connection had answered before it began, and has not since."""
        return self._answered.get(transfer.connection, inf) < transfer.began_at

    def close(self) -> None:
        for transfer in list(self._under_way):
            self.end(transfer)
        for transfer in self._spare:
            transfer.close()
