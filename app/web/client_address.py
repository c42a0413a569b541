"""The address a request comes from. X-Forwarded-For is believed only when a trusted proxy wrote it."""

import ipaddress
from collections.abc import Iterable

from fastapi import Request

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


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
    return client_address(
        request.client.host if request.client else None,
        request.headers.getlist("x-forwarded-for"),
        request.app.state.settings.trusted_proxies,
    )


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


def _parse(text: str | None) -> IPAddress | None:
    try:
        address = ipaddress.ip_address((text or "").strip())
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address
