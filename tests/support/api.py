"""The API for tests: in this process over a fresh database, or as a real uvicorn in a process of its own."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from jose import jwt

from app.main import create_app
from app.settings import Settings
from tests.support.ports import free_port

API_KEY = "test-api-key-0123456789"
JWT_SECRET_KEY = "test-jwt-secret-0123456789-0123456789"
SECRET_KEY = "test-secret-key-0123456789-0123456789"
START_TIMEOUT_SECONDS = 120.0
STOP_TIMEOUT_SECONDS = 60.0

# What tests want other than the defaults: no workers, and limits that only a test of limits notices, also where a
# machine is slow.
OVERRIDES: Mapping[str, str] = {
    "API_KEY": API_KEY,
    "JWT_SECRET_KEY": JWT_SECRET_KEY,
    "SECRET_KEY": SECRET_KEY,
    "WORKER_MODE": "external",
    "INLINE_TIMEOUT_SECONDS": "60",
    "PUSH_ALLOW_LOOPBACK": "true",
    "RATE_LIMIT_SUBSCRIPTION": "100000/hour",
    "RATE_LIMIT_NOTIFICATION": "100000/hour",
    "RATE_LIMIT_ANALYTICS": "100000/hour",
    "RATE_LIMIT_FAILED_LOGIN": "100000/hour",
}
SERVICE_HEADERS: Mapping[str, str] = {"X-API-Key": API_KEY}

SettingsFactory = Callable[..., Settings]
JwtFactory = Callable[..., str]
Credentials = dict[str, dict[str, str]]


def build_settings(**overrides: Any) -> Settings:
    """Return settings for a test; the overrides are named like the fields, with values as fields or variables."""
    values = {name.lower(): value for name, value in OVERRIDES.items()}
    return Settings(**(values | overrides))


def make_token(*, secret: str = JWT_SECRET_KEY, algorithm: str = "HS256", **claims: Any) -> str:
    """Return a signed JWT, by default one that outlives the tests. A claim of None is left out."""
    payload = {"exp": datetime.now(UTC) + timedelta(hours=12), **claims}
    return jwt.encode({k: v for k, v in payload.items() if v is not None}, secret, algorithm=algorithm)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def make_settings(tmp_path: Path) -> SettingsFactory:
    """Builds settings with DATA_DIR in the test's own directory: `make_settings(redis_url=...)`."""

    def make(**overrides: Any) -> Settings:
        return build_settings(**{"data_dir": tmp_path / "data", **overrides})

    return make


@pytest.fixture
def settings(make_settings: SettingsFactory, database_url: str) -> Settings:
    """The settings of `app`: override this fixture to test the app with others."""
    return make_settings(database_url=database_url)


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    """The app over a fresh database; it serves once `client` has started it."""
    return create_app(settings)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """A client of the started app."""
    with TestClient(app) as test_client:
        yield test_client


@pytest.fixture
def service_headers() -> dict[str, str]:
    return dict(SERVICE_HEADERS)


@pytest.fixture
def make_jwt() -> JwtFactory:
    return make_token


@pytest.fixture
def user_headers() -> Callable[[str], dict[str, str]]:
    """`user_headers("42")` authenticates as that user."""
    return lambda user_id: bearer(make_token(user_id=user_id, token_type="access"))


@pytest.fixture
def anonymous_headers() -> dict[str, str]:
    return bearer(make_token(push_anonymous=True))


@pytest.fixture
def credentials(
    user_headers: Callable[[str], dict[str, str]],
    anonymous_headers: dict[str, str],
    service_headers: dict[str, str],
) -> Credentials:
    """The headers of three users, of an anonymous browser and of a service, by who comes."""
    return {
        "alice": user_headers("alice"),
        "bob": user_headers("bob"),
        "carol": user_headers("carol"),
        "nobody": anonymous_headers,
        "service": service_headers,
    }


@dataclass
class LiveServer:
    """A running service. What it wrote to its log is in `output()`."""

    url: str
    process: "subprocess.Popen[bytes]"
    log_path: Path

    def output(self) -> str:
        return self.log_path.read_text(errors="replace")

    def stop(self) -> int:
        """Ask the process and its children to end, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()


LiveServerFactory = Callable[..., LiveServer]


@pytest.fixture
def start_server(database_url: str, tmp_path: Path) -> Iterator[LiveServerFactory]:
    """Starts real servers: `start_server(REDIS_URL=...)`, `start_server(command=["gunicorn", ...])`.

    `{port}` in a command is replaced by a free port. All of them are stopped after the test.
    """
    with ExitStack() as stack:

        def start(command: list[str] | None = None, **variables: str) -> LiveServer:
            directory = Path(tempfile.mkdtemp(prefix="server-", dir=tmp_path))
            server = launch(command, {"DATABASE_URL": database_url, **variables}, directory)
            stack.callback(server.stop)
            wait_until_it_answers(server)
            return server

        yield start


@pytest.fixture
def live_server(start_server: LiveServerFactory) -> LiveServer:
    """A real uvicorn on a free port, over the test's database."""
    return start_server()


def launch(command: list[str] | None, variables: Mapping[str, str], directory: Path) -> LiveServer:
    """Start a server in a directory of its own, with the tests' settings and these variables on top."""
    port = free_port()
    command = command or ["uvicorn", "app.main:app", "--port", "{port}"]
    environment = {**os.environ, **OVERRIDES, "DATA_DIR": str(directory / "data"), **variables}
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)  # it is this process's
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    log_path = directory / "server.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *(part.format(port=port) for part in command)],
            cwd=directory,  # where no .env lies
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return LiveServer(f"http://127.0.0.1:{port}", process, log_path)


def wait_until_it_answers(server: LiveServer, *, path: str = "/") -> None:
    """Return once the server answers anything at all. Fails with its output if it ends or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            with urllib.request.urlopen(server.url + path, timeout=30):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    state = "ended" if server.process.poll() is not None else "does not answer"
    pytest.fail(f"The server {state}. Its output:\n{server.output()}", pytrace=False)
