"""The service's processes in a drill: started for real, and ended in every way that processes end."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.api import OVERRIDES, LiveServer, launch, wait_until_it_answers

PROJECT_ROOT = Path(__file__).parents[2]
PROC = Path("/proc")
STOP_TIMEOUT_SECONDS = 60.0

SERVE = ["app.cli", "serve", "--port", "{port}", "--no-migrate"]
WORKER = ["app.cli", "worker", "--processes", "1"]


class Worker:
    """A set of workers as an operator runs it, or the drills' own worker with other ways (see worker.py)."""

    def __init__(self, variables: Mapping[str, str], directory: Path, *, command: list[str] = WORKER) -> None:
        directory.mkdir(parents=True)
        self._log_path = directory / "worker.log"
        environment = {**os.environ, **OVERRIDES, "DATA_DIR": str(directory / "data"), **variables}
        environment.pop("PROMETHEUS_MULTIPROC_DIR", None)  # it is this process's
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=directory,  # where no .env lies
                env={**environment, "PYTHONPATH": str(PROJECT_ROOT)},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def output(self) -> str:
        return self._log_path.read_text(errors="replace")

    def kill(self) -> None:
        """End all its processes with kill -9, as when the machine dies."""
        for pid in [self._process.pid, *_children(self._process.pid)]:
            _kill(pid)
        self._process.wait()

    def kill_the_sender(self) -> None:
        """End the process that sends, and leave its supervisor, which starts another."""
        for pid in _children(self._process.pid):
            _kill(pid)

    def kill_the_supervisor(self) -> None:
        """End the supervisor. The process that sends notices, finishes what is in flight, and ends by itself."""
        _kill(self._process.pid)
        self._process.wait()

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """Let its process, one without a supervisor, do nothing for the length of a `with`."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """Tell it to end (SIGTERM) and return its exit code; fails when it does not end in time."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(
                f"The worker did not end in {STOP_TIMEOUT_SECONDS:g} s:\n{self.output[-5000:]}", pytrace=False
            )

    def clean_up(self) -> None:
        if self.is_alive:
            self.kill()


class Api:
    """An API process. `url` is where it answers."""

    def __init__(self, variables: Mapping[str, str], directory: Path) -> None:
        directory.mkdir(parents=True)
        self._server: LiveServer = launch(SERVE, variables, directory)
        wait_until_it_answers(self._server, path="/health/live")
        self.url = self._server.url

    @property
    def output(self) -> str:
        return self._server.output()

    def kill(self) -> None:
        """End it, and what it started, with kill -9."""
        for pid in [self._server.process.pid, *_children(self._server.process.pid)]:
            _kill(pid)
        self._server.process.wait()

    def clean_up(self) -> None:
        self._server.stop()


def _children(parent: int) -> list[int]:
    if not PROC.exists():  # not Linux
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        return [int(pid) for pid, ppid in map(str.split, listed.splitlines()) if int(ppid) == parent]
    return [int(stat.parent.name) for stat in PROC.glob("[0-9]*/stat") if _parent_of(stat) == parent]


def _parent_of(stat: Path) -> int | None:
    try:
        _, _, after_the_name = stat.read_text().rpartition(")")
    except OSError:  # it has ended meanwhile
        return None
    return int(after_the_name.split()[1])


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # it may have ended by itself a moment ago
        os.kill(pid, signal.SIGKILL)
