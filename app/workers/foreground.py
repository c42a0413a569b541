"""`python -m app.cli worker`: workers apart from the API, in the foreground, as service managers want it."""

import structlog

from app.observability.logging import configure_logging
from app.observability.sentry import configure_sentry
from app.settings import Settings
from app.workers.ending import EndOfWork
from app.workers.metrics_server import serve_metrics
from app.workers.supervisor import Supervisor

log = structlog.get_logger(__name__)


def run(settings: Settings, count: int) -> int:
    """Keep so many workers alive until SIGTERM or Ctrl-C, let them finish, and return the exit code.

    A second Ctrl-C ends them at once: what they had in flight is sent again when their leases are over.
    """
    configure_logging(settings)
    configure_sentry(settings)
    supervisor = Supervisor(settings, count)
    end = EndOfWork(before_the_forced_end=supervisor.kill_without_waiting)
    log.info("workers run until Ctrl-C or SIGTERM", processes=count)
    supervisor.start()
    if settings.prometheus_metrics_enabled:
        serve_metrics(settings.worker_metrics_port)
    end.wait()
    log.info("workers finish what is in flight")
    supervisor.stop()
    log.info("workers stopped")
    return 0
