"""One Chromium for all these tests, on a desktop of its own, and for each of them a site nobody visited before."""

import uuid
from collections.abc import Iterator

import pytest

from app.simulator import Simulator
from tests.support.api import LiveServer, make_token
from tests.support.chromium import Chromium, find_chromium
from tests.support.desktop import Desktop
from tests.support.visitors import Visitor
from tests.support.website import Website


@pytest.fixture(scope="package")
def chromium_binary() -> str:
    binary = find_chromium()
    if binary is None:
        pytest.skip("needs chromium")
    return binary


@pytest.fixture(scope="package")
def desktop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desktop]:
    with Desktop(tmp_path_factory.mktemp("desktop")) as running:
        yield running


@pytest.fixture(scope="package")
def vendor() -> Iterator[Simulator]:
    """The push service of the browser's vendor."""
    with Simulator.running(tls=False, protocols=("http/1.1",)) as simulator:
        yield simulator


@pytest.fixture(scope="package")
def chromium(
    chromium_binary: str, desktop: Desktop, vendor: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Chromium]:
    with Chromium(chromium_binary, tmp_path_factory.mktemp("chromium"), desktop, vendor) as running:
        yield running


@pytest.fixture(scope="package")
def origins(website: Website) -> Iterator[str]:
    return iter(website.origins)


@pytest.fixture
def visitor(chromium: Chromium, origins: Iterator[str], server: LiveServer) -> Iterator[Visitor]:
    """Somebody on a page of a site that nobody visited before. When a test fails, pytest shows what this prints."""
    name = uuid.uuid4().hex
    arrived = Visitor(chromium, next(origins), service=server.url, token=make_token(user_id=name))
    yield arrived
    print(server.output(), *chromium.console, sep="\n")
    chromium.tidy_up()
