"""A worker process: `python -m app.workers.process`, started by a supervisor and by nobody else.

Standard input brings its settings, pickled, and then stays open for as long as whoever started it lives: its end
means the same as SIGTERM. So secrets stand neither in the arguments nor in the environment, and no worker outlives
its parent, however that ended.
"""

import gc
import os
import pickle
import sys
from typing import NoReturn

import sentry_sdk
import structlog

from app.db.embedded import EmbeddedPostgresUnavailable
from app.observability import metrics
from app.observability.logging import configure_logging
from app.observability.sentry import configure_sentry
from app.settings import Settings
from app.workers.ending import EndOfWork
from app.workers.loop import STOP_PATIENCE_SECONDS, DeliveryLoop
from app.workers.opening import close_pipeline, endpoint_policy_of, open_pipeline

# And as many again for a while: a runner needs one for moments only, and waits. One more, not the pool's, listens.
CONNECTIONS = 3
# For what is still in flight when the patience is over: it is given up, and the rest given back.
LAST_SECONDS = 3.0
GARBAGE_THRESHOLD = 20_000  # objects
CANNOT_START = 1

log = structlog.get_logger(__name__)


def run(settings: Settings, end: EndOfWork) -> int:
    """Work until told to end, and return the exit code. A database that is away is waited for."""
    try:
        pipeline = open_pipeline(settings, endpoint_policy_of(settings), connections=CONNECTIONS)
    except (EmbeddedPostgresUnavailable, OSError) as error:
        log.error("worker cannot start", reason=str(error))
        return CANNOT_START
    loop = DeliveryLoop(pipeline)
    # What is imported stays, and what a batch makes is gone with it: looking for cycles costs more than it finds.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    loop.start()
    metrics.worker_processes.set(1)
    end.wait()
    is_done = loop.stop(STOP_PATIENCE_SECONDS)
    close_pipeline(pipeline)
    if not is_done and not loop.stop(LAST_SECONDS):
        log.warning("worker ends with deliveries in flight; they are sent again once their lease is over")
        _end_at_once(0)
    return 0


def _end_at_once(exit_code: int) -> NoReturn:
    """End without waiting for other threads, and without tearing them out of native code."""
    sys.stdout.flush()
    sentry_sdk.flush(timeout=1.0)
    os._exit(exit_code)


def main() -> int:
    end = EndOfWork(input_descriptor=sys.stdin.fileno())
    try:
        settings: Settings = pickle.load(sys.stdin.buffer)  # nosec B301  # noqa: S301 - from our own parent
    except EOFError:  # it is gone already
        return 0
    configure_logging(settings)
    configure_sentry(settings)
    return run(settings, end)


if __name__ == "__main__":
    sys.exit(main())
