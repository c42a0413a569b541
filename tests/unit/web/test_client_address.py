from ipaddress import ip_network

import pytest
from fastapi import Request

from app.web.client_address import client_address, rate_limit_address
from app.web.routing import api_router
from tests.unit.web.conftest import EdgeFactory

PROXIES = [ip_network(network) for network in ("10.0.0.0/8", "192.0.2.7", "2001:db8:1::/48")]


def test_without_trusted_proxies_the_header_is_not_believed() -> None:
    assert client_address("203.0.113.9", ["1.2.3.4"], ()) == "203.0.113.9"


def test_a_stranger_is_not_believed() -> None:
    assert client_address("203.0.113.9", ["1.2.3.4"], PROXIES) == "203.0.113.9"


def test_a_trusted_proxy_names_the_client() -> None:
    assert client_address("10.1.1.1", ["203.0.113.9"], PROXIES) == "203.0.113.9"


def test_what_the_client_wrote_itself_is_not_believed() -> None:
    assert client_address("10.1.1.1", ["1.2.3.4, 203.0.113.9"], PROXIES) == "203.0.113.9"


def test_a_chain_of_trusted_proxies_is_walked() -> None:
    assert client_address("10.1.1.1", ["1.2.3.4, 203.0.113.9, 192.0.2.7", "10.9.9.9"], PROXIES) == "203.0.113.9"


def test_a_chain_of_nothing_but_proxies_ends_at_the_farthest() -> None:
    assert client_address("10.1.1.1", ["10.3.3.3, 10.2.2.2"], PROXIES) == "10.3.3.3"


@pytest.mark.parametrize(
    "nonsense",
    [
        *(
            "",
            " ",
            "unknown",
            "999.1.1.1",
            "'; DROP TABLE",
            "_hidden",
            "for=1.2.3.4",
            "1.2.3.4/32",
            "1.2.3.4 5.6.7.8",
        ),
        *(
            "1.2.3.4:",
            "1.2.3.4:port",
            "1.2.3.4:123456",
            "[1.2.3.4",
            "[]:80",
            "[::1]x",
            "١.٢.٣.٤",
            "0x7f.1",
            "127.1",
            "01.2.3.4",
        ),
    ],
)
def test_nonsense_in_the_header_ends_the_walk(nonsense: str) -> None:
    assert client_address("10.1.1.1", [f"1.2.3.4, {nonsense}"], PROXIES) == "10.1.1.1"


@pytest.mark.parametrize(
    ("hop", "address"),
    [
        ("203.0.113.9:50123", "203.0.113.9"),
        ("[2001:db8:ffff::1]:443", "2001:db8:ffff::1"),
        ("[2001:db8:ffff::1]", "2001:db8:ffff::1"),
        ("2001:DB8:FFFF:0::1", "2001:db8:ffff::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[::ffff:203.0.113.9]:80", "203.0.113.9"),
        ("[203.0.113.9]:80", "203.0.113.9"),
    ],
)
def test_an_address_is_one_however_the_proxy_writes_it(hop: str, address: str) -> None:
    assert client_address("10.1.1.1", [f" {hop} "], PROXIES) == address


def test_a_proxy_in_the_chain_may_have_a_port_too() -> None:
    assert client_address("10.1.1.1", ["203.0.113.9:1, 10.2.2.2:80"], PROXIES) == "203.0.113.9"


def test_a_chain_as_long_as_a_header_may_be_is_walked_only_as_far_as_it_is_trusted() -> None:
    assert client_address("10.1.1.1", ["1.2.3.4," * 8000 + "203.0.113.9"], PROXIES) == "203.0.113.9"


def test_an_ipv4_address_in_ipv6_clothes_is_the_same_client() -> None:
    assert client_address("::ffff:10.1.1.1", ["::ffff:203.0.113.9"], PROXIES) == "203.0.113.9"


def test_ipv6_proxies_are_trusted_too() -> None:
    assert client_address("2001:db8:1::1", ["2001:db8:ffff::1"], PROXIES) == "2001:db8:ffff::1"


def test_a_peer_without_an_address_has_a_name_all_the_same() -> None:
    assert client_address(None, ["1.2.3.4"], PROXIES) == "unknown"


def test_one_ipv6_network_is_one_client(edge: EdgeFactory) -> None:
    router = api_router(prefix="/address")

    @router.get("/")
    def show(request: Request) -> str:
        request.scope["client"] = ("10.0.0.1", 1)
        return rate_limit_address(request)

    client = edge(router, trusted_proxies=["10.0.0.0/8"])
    headers = [{"X-Forwarded-For": f"2001:db8:5:6::{suffix}"} for suffix in ("1", "ffff")]

    addresses = {client.get("/address/", headers=header).json() for header in headers}

    assert addresses == {"2001:db8:5:6::/64"}


@pytest.mark.parametrize(
    ("peer", "trusted", "address"),
    [
        (("10.0.0.1", 1), ["10.0.0.0/8"], "203.0.113.9"),
        (("10.0.0.1", 1), ["::ffff:10.0.0.0/104"], "203.0.113.9"),
        (("10.0.0.1", 1), [], "10.0.0.1"),
        (None, ["127.0.0.1"], "203.0.113.9"),  # a Unix socket
        (None, [], "127.0.0.1"),
    ],
)
def test_no_other_header_names_the_client(
    edge: EdgeFactory, peer: tuple[str, int] | None, trusted: list[str], address: str
) -> None:
    router = api_router(prefix="/address")

    @router.get("/")
    def show(request: Request) -> str:
        request.scope["client"] = peer
        return rate_limit_address(request)

    headers = {
        "X-Forwarded-For": "203.0.113.9",
        "Forwarded": "for=1.1.1.1",
        **dict.fromkeys(("X-Real-IP", "X-Client-IP", "X-Cluster-Client-IP", "True-Client-IP"), "1.1.1.1"),
        **dict.fromkeys(("CF-Connecting-IP", "X-Forwarded", "X-Original-Forwarded-For"), "1.1.1.1"),
    }

    assert edge(router, trusted_proxies=trusted).get("/address/", headers=headers).json() == address
