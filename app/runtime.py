"""What an API process holds while it serves: connections, keys, the sender, its workers and the periodic jobs."""

from datetime import UTC, datetime

import structlog
from sqlalchemy.exc import ProgrammingError

from app.db.session import PASSING_ERRORS, SessionFactory, transaction
from app.delivery.declarative import is_absolute
from app.delivery.partitions import coming_months, ensure_partitions
from app.notifications.events import Looking
from app.notifications.idempotency import PURGE_EVERY_SECONDS, purge
from app.push.endpoint import EndpointPolicy
from app.redis_connection import redis_client
from app.settings import Settings, WorkerMode
from app.workers.database_gauges import INTERVAL_SECONDS as GAUGES_EVERY_SECONDS
from app.workers.database_gauges import DatabaseGauges
from app.workers.embedded import EmbeddedWorkers
from app.workers.mass_loss import INTERVAL_SECONDS as GUARD_EVERY_SECONDS
from app.workers.mass_loss import MassLossGuard
from app.workers.opening import close_pipeline, open_pipeline
from app.workers.periodic import Periodic
from app.workers.retention import FIRST_AFTER_SECONDS as RETENTION_AFTER_SECONDS
from app.workers.retention import INTERVAL_SECONDS as RETENTION_EVERY_SECONDS
from app.workers.retention import Retention

PREPARE_EVERY_SECONDS = 15.0

log = structlog.get_logger(__name__)


class Runtime:
    """The parts of a process, opened by `start` and closed by `stop` in the reverse order."""

    def __init__(self, settings: Settings, policy: EndpointPolicy) -> None:
        self._settings = settings
        self._policy = policy
        self._has_synchronised_keys = False

    def start(self) -> None:
        """Open everything. A database that is away stops nothing here: it is prepared once it is back.

        Raises EmbeddedPostgresUnavailable, OSError when the CA file cannot be read, and CannotUnseal when
        the stored keys belong to another SECRET_KEY.
        """
        settings = self._settings
        self.pipeline = open_pipeline(settings, self._policy)
        self.sessions = self.pipeline.sessions
        self.redis = redis_client(settings.redis_url) if settings.redis_url else None
        self.looking = Looking(self.sessions)
        if settings.push_declarative and not is_absolute(settings.site_url):
            log.info("declarative push for absolute URLs only", hint="with SITE_URL, Safari gets it for all")
        self._prepare(self.sessions)
        gauges = DatabaseGauges()
        self._periodic = Periodic(self.sessions)
        self._periodic.add("database-gauges", gauges, interval_seconds=GAUGES_EVERY_SECONDS, close=gauges.close)
        guard = MassLossGuard()
        self._periodic.add("mass-loss-guard", guard, interval_seconds=GUARD_EVERY_SECONDS, close=guard.close)
        # Each has a thread and a connection: what was just done, or can wait, is not done at the start.
        for name, job, seconds in (
            ("prepare-database", self._prepare, PREPARE_EVERY_SECONDS),
            ("idempotency-keys", purge, PURGE_EVERY_SECONDS),
        ):
            self._periodic.add(name, job, interval_seconds=seconds, first_after_seconds=seconds)
        retention = Retention(settings.log_retention_days)
        self._periodic.add(
            "retention",
            retention,
            interval_seconds=RETENTION_EVERY_SECONDS,
            first_after_seconds=RETENTION_AFTER_SECONDS,
            close=retention.close,
        )
        self._periodic.start()
        is_embedded = settings.worker_mode is WorkerMode.EMBEDDED
        self._workers = EmbeddedWorkers(settings, self.sessions) if is_embedded else None
        if self._workers is not None:
            self._workers.start()

    def stop(self) -> None:
        """Finish what is in flight, give back the rest, close the connections."""
        if self._workers is not None:
            self._workers.stop()
        self._periodic.stop()
        self.looking.close()
        close_pipeline(self.pipeline)
        if self.redis is not None:
            self.redis.close()

    def _prepare(self, sessions: SessionFactory) -> None:
        """See that the VAPID key and the ledger's coming partitions are there."""
        try:
            with transaction(sessions) as session:
                if not self._has_synchronised_keys:
                    self.pipeline.keyring.synchronise(session, self._settings.vapid_key_pair())
                ensure_partitions(session, *coming_months(datetime.now(UTC)))
            # Once only: while a deployment rolls, old and new configuration must not take turns.
            self._has_synchronised_keys = True
        except PASSING_ERRORS as error:
            log.warning("database not prepared", error=type(error).__name__)
        except ProgrammingError:
            log.warning("database not prepared", hint="the tables are not there: run alembic upgrade head")
