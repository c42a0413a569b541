"""Connections that come and go: each host's are closed when others have been used for long."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.push import curl_connections
from app.push.address import CheckedAddress
from app.push.curl_sender import CurlSender
from app.push.endpoint import EndpointPolicy
from app.push.vapid import VapidSigner
from app.simulator import Authority, Simulator
from tests.integration.sender_contract.sending import message_to, outcome_of, subscribed

ELSEWHERE = "127.0.0.2"


@pytest.fixture
def push_service(push_authority: Authority) -> Iterator[Simulator]:
    with Simulator.running(authority=push_authority, hosts=(ELSEWHERE,)) as simulator:
        yield simulator


@pytest.fixture
def sender(push_ca_file: Path) -> Iterator[CurlSender]:
    """One that looks up every name as ELSEWHERE; libcurl by itself would take another address for localhost."""
    sender = CurlSender(
        policy=EndpointPolicy(allow_loopback=True),
        signer=VapidSigner("mailto:push@example.com"),
        ca_file=push_ca_file,
        resolve_host=lambda host, port: [CheckedAddress(host, port, ELSEWHERE)],
    )
    yield sender
    sender.close()


def test_connections_that_are_new_are_told_the_addresses_anew(
    sender: CurlSender, push_service: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curl_connections, "_MAX_IDLE_HOSTS", 0)
    browser = subscribed(push_service)
    message = message_to(browser, endpoint=browser.endpoint.replace(ELSEWHERE, "localhost"))

    outcomes = [outcome_of(sender, message) for _ in range(3)]

    assert [outcome.status_code is not None for outcome in outcomes] == [True] * 3
    assert push_service.counts.tcp_connections == 3
