"""What one process holds while it serves: connections, keys, the sender, the worker and the periodic jobs."""

from datetime import UTC, datetime

import structlog
from redis import Redis
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from app.db.session import PASSING_ERRORS, SessionFactory, create_sessions, database_url_of, transaction
from app.delivery.partitions import coming_months, ensure_partitions
from app.delivery.payload import PublicUrls
from app.delivery.run import Pipeline
from app.keyring.service import Keyring
from app.push.endpoint import EndpointPolicy
from app.push.factory import create_sender
from app.settings import Settings, WorkerMode
from app.workers.database_gauges import INTERVAL_SECONDS as GAUGES_EVERY_SECONDS
from app.workers.database_gauges import DatabaseGauges
from app.workers.loop import DeliveryLoop
from app.workers.periodic import Periodic

PREPARE_EVERY_SECONDS = 15.0
REDIS_TIMEOUT_SECONDS = 0.25

log = structlog.get_logger(__name__)


class Runtime:
    """The parts of a process, opened by `start` and closed by `stop` in the reverse order."""

    def __init__(self, settings: Settings, policy: EndpointPolicy) -> None:
        self._settings = settings
        self._policy = policy
        self._has_synchronised_keys = False

    def start(self) -> None:
        """Open everything. A database that is away stops nothing here: it is prepared once it is back.

        Raises EmbeddedPostgresUnavailable, and CannotUnseal when the stored keys belong to another SECRET_KEY.
        """
        settings = self._settings
        self.sessions = create_sessions(database_url_of(settings))
        self._keyring = Keyring(_secret_key(settings))
        self._sender = create_sender(
            settings.push_sender,
            policy=self._policy,
            subject=settings.vapid_subject,
            ca_file=settings.push_ca_file,
        )
        self.pipeline = Pipeline(
            self.sessions, self._sender, self._keyring, PublicUrls(settings.site_url, settings.asset_base_url)
        )
        self.redis = _redis_client(settings.redis_url)
        self._prepare(self.sessions)
        gauges = DatabaseGauges()
        self._periodic = Periodic(self.sessions)
        self._periodic.add("database-gauges", gauges, interval_seconds=GAUGES_EVERY_SECONDS, close=gauges.close)
        self._periodic.add("prepare-database", self._prepare, interval_seconds=PREPARE_EVERY_SECONDS)
        self._periodic.start()
        self._loop = DeliveryLoop(self.pipeline) if settings.worker_mode is WorkerMode.EMBEDDED else None
        if self._loop is not None:
            self._loop.start()

    def stop(self) -> None:
        """Finish what is in flight, give back the rest, close the connections."""
        if self._loop is not None:
            self._loop.stop()
        self._periodic.stop()
        self._sender.close()
        self.pipeline.inline.shutdown(cancel_futures=True)
        if self.redis is not None:
            self.redis.close()
        engine = self.sessions.kw["bind"]
        assert isinstance(engine, Engine)
        engine.dispose()

    def _prepare(self, sessions: SessionFactory) -> None:
        """See that the VAPID key and the ledger's coming partitions are there."""
        try:
            with transaction(sessions) as session:
                if not self._has_synchronised_keys:
                    self._keyring.synchronise(session, self._settings.vapid_key_pair())
                ensure_partitions(session, *coming_months(datetime.now(UTC)))
            # Once only: while a deployment rolls, old and new configuration must not take turns.
            self._has_synchronised_keys = True
        except PASSING_ERRORS as error:
            log.warning("database not prepared", error=type(error).__name__)
        except ProgrammingError:
            log.warning("database not prepared", hint="the tables are not there: run alembic upgrade head")


def _secret_key(settings: Settings) -> str:
    assert settings.secret_key is not None  # generated in development, required in production
    return settings.secret_key.get_secret_value()


def _redis_client(url: str | None) -> Redis | None:
    """Return a client for caches, None without REDIS_URL. Connects when first used, and does not wait long."""
    if url is None:
        return None
    return Redis.from_url(
        url,
        socket_timeout=REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
    )
