"""Who may begin when much is in flight. Nothing is posted here: the hosts say how much they have."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.push.curl_connections import Connections
from app.push.curl_flight import Flight
from app.push.curl_host import FIRST_IN_FLIGHT_PER_HOST, MAX_IN_FLIGHT_PER_HOST, Host
from app.push.curl_transfer import Wire
from app.push.sender import Timeouts


@pytest.fixture
def flight() -> Iterator[Flight]:
    connections = Connections()
    yield Flight(connections, Wire(Path("ca.pem"), Timeouts(), lambda _ip, _port: False))
    connections.close()


def hosts_with(flight: Flight, in_flight: int, *, count: int, is_http2: bool) -> list[Host]:
    """Return so many hosts that may have 512 in flight, and have this many."""
    hosts = [flight.host((f"{in_flight}-{number}.example.net", 443)) for number in range(count)]
    for host in hosts:
        host.in_flight, host.limit = in_flight, MAX_IN_FLIGHT_PER_HOST
        host.is_http2, host.is_http1 = is_http2, not is_http2
    first = len(flight)
    flight._under_way |= dict.fromkeys(range(first, first + in_flight * count))  # type: ignore[arg-type]
    flight.next_burst()
    return hosts


def test_a_host_may_have_as_much_in_flight_as_its_limit_says(flight: Flight) -> None:
    (host,) = hosts_with(flight, MAX_IN_FLIGHT_PER_HOST - 1, count=1, is_http2=True)

    has_room = flight.has_room_for(host)
    host.in_flight += 1

    assert has_room
    assert not flight.has_room_for(host)


def test_two_hosts_with_all_they_may_have_leave_a_third_its_share(flight: Flight) -> None:
    large = hosts_with(flight, MAX_IN_FLIGHT_PER_HOST - 1, count=2, is_http2=True)
    hosts_with(flight, 2, count=1, is_http2=True)
    newcomer = flight.host(("new.example.net", 443))
    newcomer.is_http2 = True

    begun = 0
    while flight.has_room_for(newcomer):
        newcomer.in_flight += 1
        begun += 1

    assert begun == FIRST_IN_FLIGHT_PER_HOST
    assert [flight.has_room_for(host) for host in large] == [False, False]


def test_very_many_busy_hosts_have_small_shares_but_each_has_one(flight: Flight) -> None:
    busy = hosts_with(flight, 8, count=200, is_http2=True)
    newcomer = flight.host(("new.example.net", 443))

    assert flight.has_room_for(newcomer)
    assert not any(flight.has_room_for(host) for host in busy)


def test_hosts_that_take_a_connection_for_each_request_leave_others_some(flight: Flight) -> None:
    busy = hosts_with(flight, 32, count=5, is_http2=False)
    newcomer = flight.host(("new.example.net", 443))
    on_http2 = hosts_with(flight, 40, count=1, is_http2=True)

    begun = 0
    while flight.has_room_for(newcomer):
        newcomer.in_flight += 1
        begun += 1

    assert begun > 0
    assert not any(flight.has_room_for(host) for host in busy)
    assert flight.has_room_for(on_http2[0])
