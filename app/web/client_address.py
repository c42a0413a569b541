"""The address a request comes from. X-Forwarded-For is believed only when a trusted proxy wrote it."""

import ipaddress
import re
from collections.abc import Iterable

from fastapi import Request

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Some proxies name the client's port, too, and brackets go with that.
_WITH_PORT = re.compile(r"\[(?P<bracketed>[^\]]*)\](?::\d{1,5})?|(?P<dotted>[\d.]+):\d{1,5}", re.ASCII)


def client_address(peer: str | None, forwarded_for: Iterable[str], trusted: Iterable[IPNetwork]) -> str:
    """Return the address of the client behind the trusted proxies.

    Walks the chain from our side outwards (the last entry is the nearest) and stops at the first hop that is not a
    trusted proxy: whatever stands further left, anybody could have written.
    """
    networks = tuple(trusted)
    current = _parse(peer)
    if current is None:
        return peer or "unknown"  # a unix socket or a test client has no address
    hops = [hop for header in forwarded_for for hop in header.split(",")]
    for hop in reversed(hops):
        if not any(current in network for network in networks):
            break
        earlier = _parse(hop)
        if earlier is None:
            break
        current = earlier
    return str(current)


def request_address(request: Request) -> str:
    """Return the address that a request comes from, of the client behind the trusted proxies."""
    forwarded_for = request.headers.getlist("x-forwarded-for")
    return client_address(_peer_of(request), forwarded_for, request.app.state.settings.trusted_proxies)


def is_passed_on_by_a_stranger(request: Request) -> bool:
    """Tell whether the peer is a proxy, as it says, and none of ours: `request_address` is the proxy's then."""
    trusted: Iterable[IPNetwork] = request.app.state.settings.trusted_proxies
    return "x-forwarded-for" in request.headers and not is_within(_peer_of(request), trusted)


def rate_limit_address(request: Request) -> str:
    """Return what rate limits count an anonymous client by: its IPv4 address, or its IPv6 network of 64 bits.

    One IPv6 client commonly owns a whole /64, so single addresses would limit nobody.
    """
    address = request_address(request)
    parsed = _parse(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address


def is_within(address: str, networks: Iterable[IPNetwork]) -> bool:
    """Tell whether an address lies in one of the networks. What is no address lies in none."""
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in networks)


def _peer_of(request: Request) -> str:
    return request.client.host if request.client else "127.0.0.1"  # who uses a Unix socket is on this machine


def _parse(text: str | None) -> IPAddress | None:
    """Return the address in one form, however it is written: a zone and a port say nothing of who it is."""
    written = (text or "").strip()
    if with_port := _WITH_PORT.fullmatch(written):
        written = with_port["bracketed"] or with_port["dotted"] or ""
    try:
        address = ipaddress.ip_address(written.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address
