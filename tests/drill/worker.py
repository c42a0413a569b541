"""A worker process with ways of its own: a clock that is wrong, a lease that is short.

Run: python -m tests.drill.worker [--clock SECONDS] [--lease SECONDS]. It reads its settings from the environment
and ends as every worker does: at SIGTERM, or when its standard input ends.
"""

import argparse
import datetime as datetime_module
import sys
import time
from datetime import timedelta


def shift_the_clock(seconds: float) -> None:
    """Let this process believe that it is so much later. Before anything is imported that may keep a clock."""
    right_time, right_time_ns = time.time, time.time_ns

    class ShiftedDatetime(datetime_module.datetime):
        @classmethod
        def now(cls, tz: datetime_module.tzinfo | None = None) -> "ShiftedDatetime":
            return cls.fromtimestamp(time.time(), tz)

        @classmethod
        def utcnow(cls) -> "ShiftedDatetime":
            return cls.now(datetime_module.UTC).replace(tzinfo=None)

    time.time = lambda: right_time() + seconds
    time.time_ns = lambda: right_time_ns() + int(seconds * 1e9)
    datetime_module.datetime = ShiftedDatetime  # type: ignore[misc]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clock", type=float, default=0.0, help="seconds that this process is ahead")
    parser.add_argument("--lease", type=float, default=None, help="seconds that a lease lasts")
    options = parser.parse_args()
    if options.clock:
        shift_the_clock(options.clock)

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
