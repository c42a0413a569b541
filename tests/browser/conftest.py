"""One Firefox, one push service and one real server for all browser tests, and for each an origin of its own."""

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from app import cli
from app.db.session import SessionFactory, create_sessions, transaction
from app.models import Receipt
from tests.support.api import SECRET_KEY, SERVICE_HEADERS, LiveServer, launch, wait_until_it_answers
from tests.support.autopush import AutopushServer
from tests.support.bidi import Browser
from tests.support.databases import dispose, temporary_database
from tests.support.demo_page import ReceiptsOf, Subscriber, subscribe, visit
from tests.support.firefox import Firefox, find_firefox, push_preferences
from tests.support.line import Line
from tests.support.website import Website


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
def website() -> Iterator[Website]:
    """The sites that visitors come from, each an origin other than the service's."""
    with Website() as running:
        yield running


@pytest.fixture(scope="package")
def service_database(postgres_url: str, template_database: str) -> Iterator[str]:
    """The URL of the database that the service works on."""
    with temporary_database(postgres_url, template=template_database) as url:
        yield url


@pytest.fixture(scope="package")
def service_sessions(service_database: str) -> Iterator[SessionFactory]:
    sessions = create_sessions(service_database)
    yield sessions
    dispose(sessions)


@pytest.fixture(scope="package")
def server(
    website: Website, service_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    """The service under uvicorn, in a process of its own."""
    variables = {"DATABASE_URL": service_database, "CORS_ALLOWED_ORIGINS": ",".join(website.origins)}
    running = launch(None, variables, tmp_path_factory.mktemp("service"))
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
    connected_browser.tidy_up()
    print(*connected_browser.console, firefox.log, server.output(), sep="\n")


@pytest.fixture
def origin(server: LiveServer) -> str:
    """The service under a name that only this test uses, so that no service worker or stored token is there yet.

    Browsers take every name below localhost for this machine, and for secure.
    """
    return f"http://{uuid.uuid4().hex}.localhost:{urlsplit(server.url).port}"


@pytest.fixture
def line(server: LiveServer) -> Iterator[Line]:
    """The browser's way to the service."""
    with Line(urlsplit(server.url).port or 0) as line:
        yield line


@pytest.fixture
def far_site(line: Line) -> str:
    """An origin whose way to the service can be cut."""
    return f"http://{uuid.uuid4().hex}.localhost:{line.port}"


@pytest.fixture
def page(browser: Browser, origin: str) -> Browser:
    """The demo page, with nothing pressed yet."""
    visit(browser, origin, until_it_is="off")
    return browser


@pytest.fixture
def subscriber(page: Browser) -> Subscriber:
    return subscribe(page)


@pytest.fixture
def receipts_of(service_sessions: SessionFactory) -> ReceiptsOf:
    def find(notification_id: str) -> dict[str, Receipt]:
        of_it = select(Receipt).where(Receipt.notification_id == uuid.UUID(notification_id))
        with transaction(service_sessions) as session:
            return {receipt.event: receipt for receipt in session.scalars(of_it)}

    return find


@pytest.fixture
def client(server: LiveServer) -> Iterator[httpx.Client]:
    """A client with an API key, as the Django application is one."""
    with httpx.Client(base_url=server.url, headers=SERVICE_HEADERS, trust_env=False, timeout=60) as http:
        yield http


@pytest.fixture
def rotate_keys(
    service_database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[[], object]]:
    """Runs `keys rotate` for the service's database. Afterwards there is but one key again, the newest."""
    for name, value in {
        "DATABASE_URL": service_database,
        "SECRET_KEY": SECRET_KEY,
        "DATA_DIR": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(cli.cli, ["keys", *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    yield lambda: run("rotate")
    for key in json.loads(run("status", "--json")):
        if key["state"] == "signing":
            run("retire", key["public_key"], "--force", "--yes")
