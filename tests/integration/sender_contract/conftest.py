"""The senders under test: each test of this package runs once for every kind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.push.curl_sender import CurlSender
from app.push.endpoint import EndpointPolicy
from app.push.factory import create_sender
from app.push.pywebpush_sender import PywebpushSender
from app.push.sender import Sender, Timeouts
from app.push.vapid import VapidSigner
from app.simulator import Browser, Simulator
from tests.integration.sender_contract.sending import MakeSender, subscribed

ADAPTERS: dict[str, Callable[..., Sender]] = {"curl": CurlSender, "pywebpush": PywebpushSender}
SENDERS = tuple(ADAPTERS)


@pytest.fixture(params=SENDERS)
def make_sender(request: pytest.FixtureRequest, push_ca_file: Path) -> MakeSender:
    def make(*, allow_loopback: bool = True, timeouts: Timeouts | None = None) -> Sender:
        sender = create_sender(
            request.param,
            policy=EndpointPolicy(allow_loopback=allow_loopback),
            subject="mailto:push@example.com",
            ca_file=push_ca_file,
            timeouts=timeouts or Timeouts(),
        )
        request.addfinalizer(sender.close)
        return sender

    return make


@pytest.fixture(params=SENDERS)
def build(request: pytest.FixtureRequest) -> Callable[..., Sender]:
    """Make the adapter itself, to give it a resolver or a signer: `build(resolve_host=...)`."""

    def build(
        *,
        allow_loopback: bool = True,
        timeouts: Timeouts | None = None,
        signer: VapidSigner | None = None,
        **options: Any,
    ) -> Sender:
        sender = ADAPTERS[request.param](
            policy=EndpointPolicy(allow_loopback=allow_loopback),
            signer=signer or VapidSigner("mailto:push@example.com"),
            timeouts=timeouts or Timeouts(),
            **options,
        )
        request.addfinalizer(sender.close)
        return sender

    return build


@pytest.fixture
def sender(make_sender: MakeSender) -> Sender:
    return make_sender()


@pytest.fixture
def browser(push_service: Simulator) -> Browser:
    return subscribed(push_service)
