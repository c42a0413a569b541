from collections.abc import Iterator
from pathlib import Path

import pytest

from app.simulator import Simulator
from tests.unit.simulator.sending import ApplicationServer


@pytest.fixture
def server(push_service: Simulator, push_ca_file: Path) -> Iterator[ApplicationServer]:
    """An application server that speaks HTTP/2."""
    with ApplicationServer(push_service, push_ca_file) as server:
        yield server


@pytest.fixture(params=[True, False], ids=["http2", "http1"])
def any_server(
    request: pytest.FixtureRequest, push_service: Simulator, push_ca_file: Path
) -> Iterator[ApplicationServer]:
    """An application server that speaks HTTP/2, then one that speaks HTTP/1.1."""
    with ApplicationServer(push_service, push_ca_file, http2=request.param) as server:
        yield server
