"""From a host name to addresses we may connect to.

The connection is made to what is returned here, never to a second look-up of the name: a hostile DNS could
answer the second one differently.
"""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from app.push.endpoint import is_loopback_host

Lookup = Callable[..., Sequence[tuple[Any, ...]]]

# How long a look-up is believed, and how long a connection to what it found may live.
ADDRESS_LIFE_SECONDS = 300.0

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
# Not the public internet by IANA's special-purpose registries, or led on to IPv4 addresses of anybody's choice.
# Python's own list of them differs from version to version.
_PROTOCOL_ASSIGNMENTS = IPv6Network("2001::/23")  # Teredo among them
_SIX_TO_FOUR = IPv6Network("2002::/16")
_DOCUMENTATION = IPv6Network("3fff::/20")
_V6_SPECIAL = (_PROTOCOL_ASSIGNMENTS, _SIX_TO_FOUR, _DOCUMENTATION)
_V4_SPECIAL = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))  # assignments, relays of 6to4
_MAX_ADDRESSES = 4


class AddressNotPublic(OSError):
    """A push service's name leads into a private network. The message names the host, not the address."""


@dataclass(frozen=True, slots=True)
class CheckedAddress:
    """One address of a host that may be connected to; `ip` is a literal, so that nobody resolves it again."""

    host: str
    port: int
    ip: str


def resolve(
    host: str, port: int, *, allow_loopback: bool = False, lookup: Lookup = socket.getaddrinfo
) -> tuple[CheckedAddress, ...]:
    """Return the addresses of a bare host in the resolver's order, at least one and at most four.

    One bad address among good ones refuses them all: no honest push service has one.
    A loopback host is answered only when loopback is allowed, and only with loopback addresses.
    Raises socket.gaierror when the name cannot be resolved, AddressNotPublic when it leads where we do not
    go.
    """
    found = lookup(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not addresses:
        raise socket.gaierror(socket.EAI_NONAME, "no address")
    loopback = allow_loopback and is_loopback_host(host)
    for address in addresses:
        if not (is_loopback_host(address) if loopback else is_public(address)):
            raise AddressNotPublic(f"{host} does not lead to a public address")
    return tuple(CheckedAddress(host, port, address) for address in addresses[:_MAX_ADDRESSES])


def is_public(address: str) -> bool:
    """Tell whether an address literal is unicast on the public internet, an IPv4 one inside IPv6 too."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return _is_public_v6(parsed) if isinstance(parsed, IPv6Address) else _is_public_v4(parsed)


def _is_public_v4(address: IPv4Address) -> bool:
    is_special = address.is_multicast or address.is_reserved or any(address in each for each in _V4_SPECIAL)
    return address.is_global and not is_special


def _is_public_v6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    if address in _NAT64:
        return _is_public_v4(IPv4Address(int(address) & 0xFFFFFFFF))
    is_special = any(address in each for each in _V6_SPECIAL)
    return address in _GLOBAL_UNICAST and address.is_global and not is_special
