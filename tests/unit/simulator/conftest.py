from collections.abc import Iterator
from pathlib import Path

import pytest

from app.simulator import Simulator
from tests.support.push_service import (  # noqa: F401 (fixtures are found by their names)
    _shared_push_service,
    push_authority,
    push_ca_file,
    push_service,
)
from tests.unit.simulator.sending import ApplicationServer


@pytest.fixture
def server(push_service: Simulator, push_ca_file: Path) -> Iterator[ApplicationServer]:  # noqa: F811
    with ApplicationServer(push_service, push_ca_file) as server:
        yield server


@pytest.fixture(params=[True, False], ids=["http2", "http1"])
def any_server(
    request: pytest.FixtureRequest,
    push_service: Simulator,  # noqa: F811
    push_ca_file: Path,  # noqa: F811
) -> Iterator[ApplicationServer]:
    with ApplicationServer(push_service, push_ca_file, http2=request.param) as server:
        yield server
