"""The keeper of an embedded PostgreSQL: a small process that starts it, guards it, stops it after its last client.

The first client runs `python -m app.db.embedded_keeper DATA_DIR`. That ends, with status 0, when the server is
ready, and leaves the keeper behind in a session of its own. It imports neither the settings nor any package.
"""

import argparse
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from app.db.embedded_files import EmbeddedPostgresUnavailable, is_same_file, open_private, try_lock
from app.db.embedded_home import Home, locate, prepare_directory
from app.db.embedded_server import Server

QUICK_DEATH_SECONDS = 30
MAX_QUICK_DEATHS = 3
TICK_SECONDS = 0.5  # or a tenth of the grace, if that is less
SHORTEST_TICK_SECONDS = 0.05


@dataclass(frozen=True)
class Orders:
    data_dir: Path
    grace_seconds: float
    throwaway: bool

    def as_arguments(self) -> list[str]:
        flags = ["--throwaway"] if self.throwaway else []
        return [str(self.data_dir), f"--grace-seconds={self.grace_seconds}", *flags]

    @classmethod
    def from_arguments(cls, arguments: list[str]) -> "Orders":
        parser = argparse.ArgumentParser(prog="app.db.embedded_keeper", description=__doc__)
        parser.add_argument("data_dir", type=Path)
        parser.add_argument(
            "--grace-seconds", type=float, required=True, help="how long to stay without any client"
        )
        parser.add_argument("--throwaway", action="store_true", help="not durable, and deleted at the end")
        return cls(**vars(parser.parse_args(arguments)))


class Keeper:
    """Guards one server until nobody has needed it for the grace period."""

    def __init__(self, home: Home, orders: Orders) -> None:
        self._home = home
        self._orders = orders
        self._server = Server(home, durable=not orders.throwaway)
        self._told_to_stop = False

    def keep(self, report_ready: Callable[[], None]) -> None:
        """Start the server, report it, and return when it has been stopped. Does nothing beside another keeper.

        Raises EmbeddedPostgresUnavailable when the server cannot start, or not again.
        """
        lock = try_lock(self._home.keeper_lock)
        if lock is None:
            report_ready()
            return
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._server.start()
        report_ready()
        _log("ready")
        try:
            self._guard(lock)
        finally:
            self._end(lock)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._told_to_stop = number != signal.SIGHUP

    def _end(self, lock: int) -> None:
        if not is_same_file(lock, self._home.keeper_lock):
            self._server.abandon()
            return
        self._server.stop(gently=not self._orders.throwaway)
        _log("stopped")
        if self._orders.throwaway:
            shutil.rmtree(self._home.directory, ignore_errors=True)
            shutil.rmtree(self._orders.data_dir, ignore_errors=True)

    def _guard(self, lock: int) -> None:
        tick_seconds = max(SHORTEST_TICK_SECONDS, min(TICK_SECONDS, self._orders.grace_seconds / 10))
        quick_deaths, started_at, idle_since = 0, time.monotonic(), None
        while not self._told_to_stop and is_same_file(lock, self._home.keeper_lock):
            if not self._server.is_alive():
                lived_seconds = time.monotonic() - started_at
                quick_deaths = quick_deaths + 1 if lived_seconds < QUICK_DEATH_SECONDS else 1
                _log(f"the server died after {lived_seconds:.1f} s")
                if quick_deaths > MAX_QUICK_DEATHS:
                    raise EmbeddedPostgresUnavailable("the server dies again and again.")
                self._server.start()
                started_at = time.monotonic()

            clients_gone = try_lock(self._home.clients_lock)
            if clients_gone is None:
                idle_since = None
            else:
                idle_since = idle_since or time.monotonic()
                if time.monotonic() - idle_since >= self._orders.grace_seconds:
                    return  # and hold the lock: who comes now waits until the server has stopped
                os.close(clients_gone)
            time.sleep(tick_seconds)


def main(arguments: list[str]) -> int:
    """Start a keeper in the background; return 0 when its server is ready, else print why not and return 1."""
    orders = Orders.from_arguments(arguments)
    home = locate(prepare_directory(orders.data_dir))
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        _become_background(home)
        _keep_and_report(home, orders, writer)
        return 0
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as report:
        outcome = report.read()
    if outcome == "ready":
        return 0
    sys.stderr.write(outcome or f"its keeper died; see {home.keeper_log}.")
    return 1


def _become_background(home: Home) -> None:
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = open_private(home.keeper_log, os.O_WRONLY | os.O_APPEND)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(nothing)
    os.close(log)


def _keep_and_report(home: Home, orders: Orders, writer: int) -> None:
    waiting = True

    def report(outcome: str) -> None:
        nonlocal waiting
        if waiting:
            os.write(writer, outcome.encode())
            os.close(writer)
            waiting = False

    try:
        Keeper(home, orders).keep(lambda: report("ready"))
    except (EmbeddedPostgresUnavailable, OSError) as error:
        reason = error.reason if isinstance(error, EmbeddedPostgresUnavailable) else str(error)
        report(reason)
        _log(reason)


def _log(message: str) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with contextlib.suppress(OSError):  # a full disk is no reason to leave the server alone
        os.write(2, f"{now} keeper {os.getpid()}: {message}\n".encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
