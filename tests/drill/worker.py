"""A worker process with ways of its own: clocks that are wrong or jump, a short lease, look-ups that fail.

Run: python -m tests.drill.worker [--clock SECONDS] [--jump SECONDS --jump-while FILE] [--lease SECONDS]
[--failing-name NAME --failing-while FILE]. It reads its settings from the environment and ends as every worker
does: at SIGTERM, or when its standard input ends.
"""

import argparse
import datetime as datetime_module
import socket
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

LOOK_EVERY_SECONDS = 0.01

_jumped_seconds = 0.0


def shift_the_clock(seconds: float) -> None:
    """Let this process believe that it is so much later. Before anything is imported that may keep a clock."""
    right_time, right_time_ns = time.time, time.time_ns
    right_monotonic, right_monotonic_ns = time.monotonic, time.monotonic_ns

    class ShiftedDatetime(datetime_module.datetime):
        @classmethod
        def now(cls, tz: datetime_module.tzinfo | None = None) -> "ShiftedDatetime":
            return cls.fromtimestamp(time.time(), tz)

        @classmethod
        def utcnow(cls) -> "ShiftedDatetime":
            return cls.now(datetime_module.UTC).replace(tzinfo=None)

    time.time = lambda: right_time() + seconds + _jumped_seconds
    time.time_ns = lambda: right_time_ns() + int((seconds + _jumped_seconds) * 1e9)
    time.monotonic = lambda: right_monotonic() + _jumped_seconds
    time.monotonic_ns = lambda: right_monotonic_ns() + int(_jumped_seconds * 1e9)
    datetime_module.datetime = ShiftedDatetime  # type: ignore[misc]


def jump_when_told(seconds: float, ahead: Path) -> None:
    """Let all clocks be so much ahead while there is such a file, the monotonic one too."""

    def watch() -> None:
        global _jumped_seconds  # noqa: PLW0603 - the process's clocks are one
        while True:
            _jumped_seconds = seconds if ahead.exists() else 0.0
            time.sleep(LOOK_EVERY_SECONDS)

    threading.Thread(target=watch, name="clocks", daemon=True).start()


def fail_to_look_up(name: str, failing: Path) -> None:
    """Let the look-up of a name fail for as long as there is such a file."""
    right_look_up = socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == name and failing.exists():
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return right_look_up(host, *arguments, **options)

    socket.getaddrinfo = look_up


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clock", type=float, default=0.0, help="seconds that this process is ahead")
    parser.add_argument("--lease", type=float, default=None, help="seconds that a lease lasts")
    parser.add_argument("--jump", type=float, default=0.0, help="seconds that its clocks are ahead ...")
    parser.add_argument("--jump-while", type=Path, default=None, help="... while there is this file")
    parser.add_argument("--failing-name", default="", help="a name that cannot be looked up ...")
    parser.add_argument("--failing-while", type=Path, default=None, help="... while there is this file")
    options = parser.parse_args()
    if options.clock or options.jump:
        shift_the_clock(options.clock)
    if options.jump:
        jump_when_told(options.jump, options.jump_while)
    if options.failing_while:
        fail_to_look_up(options.failing_name, options.failing_while)

    from app.delivery import lease
    from app.observability.logging import configure_logging
    from app.settings import load_settings
    from app.workers import process
    from app.workers.ending import EndOfWork

    if options.lease is not None:
        lease.LEASE = timedelta(seconds=options.lease)
    settings = load_settings()
    configure_logging(settings)
    return process.run(settings, EndOfWork(input_descriptor=sys.stdin.fileno()))


if __name__ == "__main__":
    sys.exit(main())
