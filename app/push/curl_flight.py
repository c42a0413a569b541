"""What is in flight: how much may be, how long it has been, and the handles that carry it."""

from collections.abc import Iterator
from math import inf

from app.push.curl_addresses import Known, Name
from app.push.curl_connections import Connections
from app.push.curl_host import FIRST_IN_FLIGHT_PER_HOST, Host
from app.push.curl_request import CurlRequest
from app.push.curl_transfer import Transfer, Wire

# From here on, whoever has its fair share in flight begins no more, and who has less may always.
_CROWDED_IN_FLIGHT = 1024
# The same for connections, each of which is an open file: a host on HTTP/1.1 takes one for each request.
_CROWDED_CONNECTIONS = 128
_SMALLEST_SHARE = 4
_MAX_HOSTS = 1024
_MAX_SPARE = 1024
_MAX_CONNECTIONS_KEPT_IN_MIND = 128


class Flight:
    """Begins and ends transfers, and knows those under way, the oldest first."""

    def __init__(self, connections: Connections, wire: Wire) -> None:
        self._connections = connections
        self._wire = wire
        self._spare: list[Transfer] = []
        self._under_way: dict[Transfer, None] = {}
        self._hosts: dict[Name, Host] = {}
        self._burst = 0
        self._counted_in_burst = -1  # the next two are of
        self._fair_share = FIRST_IN_FLIGHT_PER_HOST
        self._connections_taken = 0

    def __len__(self) -> int:
        return len(self._under_way)

    def __iter__(self) -> Iterator[Transfer]:
        return iter(self._under_way)

    def has_room_for(self, host: Host) -> bool:
        """Whether a request to this host may begin. No host takes another's room, whatever hangs.

        Crowded is counted once in a burst.
        """
        in_flight = host.in_flight
        if in_flight >= host.limit:
            return False
        if len(self._under_way) >= _CROWDED_IN_FLIGHT:
            self._count_the_crowd()
            if in_flight >= self._fair_share:
                return False
        if not host.is_http2 and in_flight >= _SMALLEST_SHARE:
            self._count_the_crowd()
            return self._connections_taken < _CROWDED_CONNECTIONS
        return True

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
        connections = self._connections.to((request.target.host, request.target.port))
        transfer.load(request, known, connections, now=now)
        self._connections.begin(transfer.curl, connections)
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
        if len(self._spare) < _MAX_SPARE:
            self._spare.append(transfer)
        else:
            transfer.close()
        request.host.in_flight -= 1
        return request

    def note_answer(self, transfer: Transfer, *, now: float) -> None:
        """Remember that a transfer's connection has answered."""
        connection, answered_at = transfer.connection, transfer.curl.host.answered_at
        if connection not in answered_at and len(answered_at) >= _MAX_CONNECTIONS_KEPT_IN_MIND:
            del answered_at[min(answered_at)]  # they are numbered in their order
        answered_at[connection] = now

    def is_on_kept_connection(self, transfer: Transfer) -> bool:
        """Tell whether a transfer's connection had answered before it began, and has not since."""
        answered_at: dict[int, float] = transfer.curl.host.answered_at
        return answered_at.get(transfer.connection, inf) < transfer.began_at

    def close(self) -> None:
        for transfer in list(self._under_way):
            self.end(transfer)
        for transfer in self._spare:
            transfer.close()

    def _count_the_crowd(self) -> None:
        if self._counted_in_burst == self._burst:
            return
        self._counted_in_burst = self._burst
        busy = [host for host in self._hosts.values() if host.in_flight]
        share = _CROWDED_IN_FLIGHT // max(len(busy), 1)
        self._fair_share = max(min(share, FIRST_IN_FLIGHT_PER_HOST), _SMALLEST_SHARE)
        self._connections_taken = sum(host.connections for host in busy)
