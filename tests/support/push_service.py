"""Fixtures: a push service for one test, and the CA file that a sender has to trust."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.simulator import Authority, Simulator

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "localhost")


def _is_ours(host: str) -> bool:
    """Tell whether a loopback address can be listened on: macOS has only 127.0.0.1 until told otherwise."""
    with socket.socket() as attempt:
        try:
            attempt.bind((host, 0))
        except OSError:
            return False
    return True


@pytest.fixture(scope="session")
def push_authority() -> Authority:
    """The authority that signs every simulator's certificate in this run."""
    return Authority.create()


@pytest.fixture(scope="session")
def push_ca_file(push_authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CA file that a sender has to trust (PUSH_CA_FILE)."""
    path = tmp_path_factory.mktemp("push-authority") / "ca.pem"
    push_authority.write_certificate(path)
    return path


@pytest.fixture(scope="session")
def _shared_push_service(push_authority: Authority) -> Iterator[Simulator]:
    with Simulator.running(authority=push_authority, hosts=tuple(filter(_is_ours, HOSTS))) as simulator:
        yield simulator


@pytest.fixture
def push_service(_shared_push_service: Simulator) -> Iterator[Simulator]:
    """Four push services over TLS on several hosts, without browsers, faults or connections of earlier tests."""
    _shared_push_service.reset()
    yield _shared_push_service
    _shared_push_service.reset()
    _shared_push_service.drop_connections()
