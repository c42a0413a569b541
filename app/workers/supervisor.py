"""A set of worker processes: started, replaced when they die, and stopped together.

They are spawned, never forked: a fork would share the connections and locks of the process that forks.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from app.observability import processes
from app.settings import Settings

WORKER = (sys.executable, "-P", "-m", "app.workers.process")
PROJECT_ROOT = Path(__file__).parents[2]

# Between the death of a worker and the next one: doubled each time, until one has lived for long.
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
LONG_LIFE_SECONDS = 60.0
# A little more than a worker gives itself (process.py), and less than gunicorn (25 s) and uvicorn (30 s) give us.
STOP_PATIENCE_SECONDS = 20.0

log = structlog.get_logger(__name__)


class Supervisor:
    """Keeps `count` workers with these settings alive, from `start` to `stop`. Neither waits for their imports."""

    def __init__(self, settings: Settings, count: int, *, command: Sequence[str] = WORKER) -> None:
        self._settings = pickle.dumps(settings)
        self._command = command
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._threads = [
            threading.Thread(target=self._keep_one_alive, name=f"worker-{number}", daemon=True)
            for number in range(1, count + 1)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, patience_seconds: float = STOP_PATIENCE_SECONDS) -> None:
        """Let the workers record what is in flight and give back the rest; end those that have not in time."""
        self._stopping.set()
        self._send(signal.SIGTERM)
        give_up_at = time.monotonic() + patience_seconds
        for thread in self._threads:
            thread.join(max(0.0, give_up_at - time.monotonic()))
        if self._running:
            log.warning("workers do not end, and are killed", processes=len(self._running))
            self.kill()

    def kill(self) -> None:
        """End the workers at once. What they had in flight is sent again when their leases are over."""
        self._stopping.set()
        self._send(signal.SIGKILL)
        for thread in self._threads:
            thread.join()

    def kill_without_waiting(self) -> None:
        """The same for a signal handler, which may take no lock; this process has to end right after."""
        for process in list(self._running):
            process.kill()

    def _send(self, number: signal.Signals) -> None:
        with self._lock:
            for process in self._running:
                process.send_signal(number)

    def _keep_one_alive(self) -> None:
        pause_seconds = FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            started_at = time.monotonic()
            how = self._run_one()
            if self._stopping.is_set():
                return
            lived_seconds = time.monotonic() - started_at
            if lived_seconds >= LONG_LIFE_SECONDS:
                pause_seconds = FIRST_PAUSE_SECONDS
            log.warning(
                "worker ended; another follows",
                how=how,
                lived_seconds=round(lived_seconds, 1),
                pause_seconds=pause_seconds,
            )
            _keep_its_counts()
            self._stopping.wait(pause_seconds)
            pause_seconds = min(pause_seconds * 2, LONGEST_PAUSE_SECONDS)

    def _run_one(self) -> str:
        """Start a worker, wait for its end and return how it ended."""
        try:
            process = self._spawn()
        except OSError as error:
            return f"not started: {error.strerror}"
        if process is None:
            return "not started"
        try:
            exit_code = process.wait()
        finally:
            with self._lock:
                self._running.discard(process)
            self._close_input(process)
        return signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}"

    def _spawn(self) -> "subprocess.Popen[bytes] | None":
        with self._lock:
            if self._stopping.is_set():
                return None
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for us, and we stop them in order
            )
            self._running.add(process)
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it is dead already
            process.stdin.write(self._settings)
            process.stdin.flush()  # and left open: its end would tell the worker that we are gone
        return process

    @staticmethod
    def _close_input(process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()


def _keep_its_counts() -> None:
    try:
        processes.fold_the_dead()
    except OSError as error:  # the next worker does it when it starts
        log.warning("counts of a dead worker not kept yet", error=type(error).__name__)


def _environment() -> dict[str, str]:
    """Return this process's, with our package found wherever it was started; paths keep their meaning."""
    search_path = [str(PROJECT_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(search_path)}
