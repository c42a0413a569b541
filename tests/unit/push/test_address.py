import socket
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.push.address import AddressNotPublic, Lookup, is_public, resolve


def lookup_giving(*addresses: str) -> Lookup:
    def lookup(host: str, port: int, **_kwargs: object) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return lookup


def test_a_public_host_is_answered_with_its_addresses_in_order() -> None:
    lookup = lookup_giving("142.250.1.95", "2a00:1450:4001:80b::200a", "142.250.1.95")

    addresses = resolve("fcm.googleapis.com", 443, lookup=lookup)

    assert [address.ip for address in addresses] == ["142.250.1.95", "2a00:1450:4001:80b::200a"]
    assert {(address.host, address.port) for address in addresses} == {("fcm.googleapis.com", 443)}


def test_no_more_than_four_addresses_are_tried() -> None:
    lookup = lookup_giving(*(f"142.250.1.{number}" for number in range(1, 100)))

    assert len(resolve("fcm.googleapis.com", 443, lookup=lookup)) == 4


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.1.1"),
        *("192.0.2.1", "198.18.0.1", "224.0.0.1", "224.0.1.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1"),
        *("64:ff9b:1::1", "2002:7f00:1::1", "2002:a00:1::", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "5f00::1"),
        # Some versions of Python take these for global.
        *("192.0.0.9", "192.0.0.170", "192.88.99.1", "2001:1::1", "2001:2::1", "2001:20::1", "2001:1ff:ffff::1"),
        *("2002:808:808::1", "3fff::1", "3fff:fff::1", "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8"),
        *("2606:4700::1%eth0", "nonsense", "", "2130706433", "0x7f.1"),
    ],
)
def test_an_address_that_is_not_public_is_told(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "142.250.1.95", "2a00:1450:4001:80b::200a", "64:ff9b::808:808"])
def test_a_public_address_is_told(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4).filter(lambda address: not address.is_global))
def test_no_private_address_becomes_public_inside_ipv6(address: IPv4Address) -> None:
    inside = [
        f"::ffff:{address}",
        f"::{address}",
        f"64:ff9b::{address}",
        f"2002:{int(address) >> 16:x}:{int(address) & 0xFFFF:x}::1",
    ]

    assert not any(is_public(text) for text in inside)


def test_one_private_address_among_public_ones_refuses_the_host() -> None:
    with pytest.raises(AddressNotPublic) as refusal:
        resolve("web.push.apple.com", 443, lookup=lookup_giving("17.188.1.1", "10.0.0.5"))

    assert "web.push.apple.com" in str(refusal.value)
    assert "10.0.0.5" not in str(refusal.value)


def test_a_host_that_rebinds_to_loopback_is_refused_even_where_loopback_is_allowed() -> None:
    with pytest.raises(AddressNotPublic):
        resolve("web.push.apple.com", 443, allow_loopback=True, lookup=lookup_giving("127.0.0.1"))


def test_localhost_is_refused_unless_loopback_is_allowed() -> None:
    with pytest.raises(AddressNotPublic):
        resolve("localhost", 443, lookup=lookup_giving("127.0.0.1"))


def test_localhost_is_answered_with_loopback_when_allowed() -> None:
    addresses = resolve("localhost", 8443, allow_loopback=True, lookup=lookup_giving("::1", "127.0.0.1"))

    assert [address.ip for address in addresses] == ["::1", "127.0.0.1"]


def test_a_localhost_that_leads_elsewhere_is_refused() -> None:
    with pytest.raises(AddressNotPublic):
        resolve("localhost", 8443, allow_loopback=True, lookup=lookup_giving("10.0.0.1"))


def test_a_name_without_an_address_is_a_failed_look_up() -> None:
    with pytest.raises(socket.gaierror):
        resolve("web.push.apple.com", 443, lookup=lookup_giving())
