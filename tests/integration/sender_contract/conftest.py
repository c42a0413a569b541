"""The senders under test: each test of this package runs once for every kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.push.endpoint import EndpointPolicy
from app.push.factory import create_sender
from app.push.sender import Sender, Timeouts
from app.simulator import Browser, Simulator
from tests.integration.sender_contract.sending import MakeSender, subscribed

SENDERS = ("curl", "pywebpush")


@pytest.fixture(params=SENDERS)
def make_sender(request: pytest.FixtureRequest, push_ca_file: Path) -> Iterator[MakeSender]:
    made: list[Sender] = []

    def make(*, allow_loopback: bool = True, timeouts: Timeouts | None = None) -> Sender:
        sender = create_sender(
            request.param,
            policy=EndpointPolicy(allow_loopback=allow_loopback),
            subject="mailto:push@example.com",
            ca_file=push_ca_file,
            timeouts=timeouts or Timeouts(),
        )
        made.append(sender)
        return sender

    yield make
    for sender in made:
        sender.close()


@pytest.fixture
def sender(make_sender: MakeSender) -> Sender:
    return make_sender()


@pytest.fixture
def impatient_sender(make_sender: MakeSender) -> Sender:
    return make_sender(timeouts=Timeouts(read_seconds=0.3, answer_seconds=0.5))


@pytest.fixture
def browser(push_service: Simulator) -> Browser:
    return subscribed(push_service)
