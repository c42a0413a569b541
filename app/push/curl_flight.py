"""What is in flight: how much may be, how long it has been, and the handles that carry it."""

from collections.abc import Iterator
from dataclasses import dataclass

from app.push.curl_addresses import Known, Name
from app.push.curl_connections import CONNECTIONS_PER_HOST, Connections
from app.push.curl_request import CurlRequest
from app.push.curl_transfer import Transfer, Wire

# One host that hangs must leave room for the others.
MAX_IN_FLIGHT = 1024
MAX_IN_FLIGHT_PER_HOST = 512
# Until its first answer says which HTTP it speaks. Also what is at stake when an idle host's connections turn out
# to be dead.
FIRST_IN_FLIGHT_PER_HOST = 64
_MAX_HOSTS = 1024


@dataclass(slots=True)
class Host:
    """What we know of one push service's host and port."""

    in_flight: int = 0
    limit: int = FIRST_IN_FLIGHT_PER_HOST
    busy_since_burst: int = 0

    @property
    def has_room(self) -> bool:
        return self.in_flight < self.limit

    @property
    def is_http1(self) -> bool:
        return self.limit == CONNECTIONS_PER_HOST

    def learn(self, *, is_http2: bool) -> None:
        # HTTP/1.1 carries one request on a connection: more of them would only wait inside libcurl.
        self.limit = MAX_IN_FLIGHT_PER_HOST if is_http2 else CONNECTIONS_PER_HOST


class Flight:
    """Begins and ends transfers, and knows those under way, the oldest first."""

    def __init__(self, connections: Connections, wire: Wire) -> None:
        self._connections = connections
        self._wire = wire
        self._spare: list[Transfer] = []
        self._under_way: dict[Transfer, None] = {}
        self._hosts: dict[Name, Host] = {}
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
        host.in_flight += 1

    def end(self, transfer: Transfer) -> CurlRequest:
        """Take a transfer out, whether it is finished or not, and return its request."""
        request = transfer.request
        assert request is not None
        self._connections.end(transfer.curl)
        del self._under_way[transfer]
        transfer.request = None
        self._spare.append(transfer)
        host = self.host((request.target.host, request.target.port))
        host.in_flight -= 1
        return request

    def close(self) -> None:
        for transfer in list(self._under_way):
            self.end(transfer)
        for transfer in self._spare:
            transfer.close()
