"""One Firefox, one push service and one real server for all browser tests, and for each an origin of its own."""

import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.api import SERVICE_HEADERS, LiveServer, launch, wait_until_it_answers
from tests.support.autopush import AutopushServer
from tests.support.bidi import Browser
from tests.support.databases import temporary_database
from tests.support.firefox import Firefox, find_firefox, push_preferences


@pytest.fixture(scope="package")
def firefox_binary() -> str:
    binary = find_firefox()
    if binary is None:
        pytest.skip("needs firefox-esr")
    return binary


@pytest.fixture(scope="package")
def autopush() -> Iterator[AutopushServer]:
    with AutopushServer() as server:
        yield server


@pytest.fixture(scope="package")
def server(
    firefox_binary: str, postgres_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    """The service under uvicorn, in a process of its own."""
    with temporary_database(postgres_url, template=template_database) as database_url:
        running = launch(None, {"DATABASE_URL": database_url}, tmp_path_factory.mktemp("service"))
        try:
            wait_until_it_answers(running)
            yield running
        finally:
            running.stop()


@pytest.fixture(scope="package")
def firefox(
    firefox_binary: str, autopush: AutopushServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Firefox]:
    home = tmp_path_factory.mktemp("firefox")
    with Firefox(firefox_binary, home, push_preferences(autopush.url)) as running:
        yield running


@pytest.fixture(scope="package")
def connected_browser(firefox: Firefox, autopush: AutopushServer) -> Iterator[Browser]:
    with Browser(firefox.bidi_address) as connected:
        autopush.wait_for_hello()
        yield connected


@pytest.fixture
def browser(connected_browser: Browser, firefox: Firefox, server: LiveServer) -> Iterator[Browser]:
    """The browser. When a test fails, pytest shows what this prints."""
    yield connected_browser
    print(*connected_browser.console, firefox.log, server.output(), sep="\n")


@pytest.fixture
def origin(server: LiveServer) -> str:
    """The service under a name that only this test uses, so that no service worker or stored token is there yet.

    Browsers take every name below localhost for this machine, and for secure.
    """
    return f"http://{uuid.uuid4().hex}.localhost:{urlsplit(server.url).port}"


@pytest.fixture
def client(server: LiveServer) -> Iterator[httpx.Client]:
    """A client with an API key, as the Django application is one."""
    with httpx.Client(base_url=server.url, headers=SERVICE_HEADERS, trust_env=False, timeout=60) as http:
        yield http
