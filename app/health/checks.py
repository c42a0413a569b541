"""Is the service well? Asks what it depends on, all at once, each within a time limit.

What the answers say is public: no host, no user, no error text. Those go to the log, when a part goes down.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import psycopg2
import redis
import structlog
from alembic.config import Config
from alembic.script import ScriptDirectory
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Engine

from app import __version__
from app.health.postgres_probe import NoAnswer, NotReachable, PostgresProbe
from app.health.schemas import Dependency, Health, Overall, Status
from app.observability import metrics

TIMEOUT_SECONDS = 2.0
CACHE_SECONDS = 1.0
# A delivery is taken within seconds of being due, unless nobody is there to take it.
STUCK_AFTER_SECONDS = 300

VITAL = ("database", "migrations")

_MIGRATIONS = Path(__file__).parents[2] / "alembic"
_CURRENT_REVISION = "SELECT version_num FROM push_alembic_version"
# Where somebody holds a batch, workers run, however long the rest has to wait; and whose push service is paused, or
# held to a rate, waits for that. Served by ix_push_delivery_batches_due.
_LONGEST_WAIT = """
    SELECT extract(epoch FROM now() - min(not_before))::integer FROM push_delivery_batches AS batch
    WHERE state IN ('ready', 'leased') AND (state = 'ready' OR leased_until < now()) AND not_before <= now()
      AND NOT EXISTS (
          SELECT FROM push_delivery_batches WHERE state = 'leased' AND leased_until > now()
      )
      AND NOT EXISTS (
          SELECT FROM push_service_states AS state
          WHERE state.endpoint_host = batch.endpoint_host
            AND greatest(state.paused_until, state.next_slot_at) > now() - interval '5 minutes'
      )
"""
_DRAINING_SINCE = "SELECT to_char(began_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), note FROM push_drain"
_HELD_AND_REFUSED = """
    SELECT EXISTS (SELECT FROM push_quarantines WHERE ended_at IS NULL),
           EXISTS (SELECT FROM push_service_states WHERE reason = 'refused')
"""
# Some 300 kB in a temporary file, for a moment. What only reads is answered also when the disk is full.
_TAKE_ROOM = "SET work_mem = '64kB'; SELECT count(*) FROM generate_series(1, 20000)"
_STARTED = time.monotonic()

log = structlog.stdlib.get_logger(__name__)

Dependencies = dict[str, Dependency]


class HealthChecks:
    """Asks at most once a second, however often it is asked itself. For one event loop."""

    def __init__(self, engine: Engine, redis_url: str | None) -> None:
        _, connect_options = engine.dialect.create_connect_args(engine.url)
        self._probes: list[tuple[Callable[[], Dependencies], Dependencies]] = [
            (partial(_probe_database, connect_options), _database_is_down("No answer in time.")),
            (
                partial(_probe_redis, _redis_client(redis_url)),
                {"redis": Dependency(status=Status.DOWN, detail="No answer in time.")},
            ),
        ]
        # Threads of its own: those that serve requests may all be waiting for a database that hangs.
        self._threads = ThreadPoolExecutor(2 * len(self._probes), thread_name_prefix="health")
        self._running: asyncio.Task[Health] | None = None
        self._latest: Health | None = None
        self._asked_at = 0.0

    async def report(self) -> Health:
        """Return the present state, at most a second old."""
        if self._latest is not None and time.monotonic() - self._asked_at < CACHE_SECONDS:
            return self._latest
        if self._running is None:
            self._running = asyncio.create_task(self._ask_all())
        return await asyncio.shield(self._running)  # whoever asked first may leave before the answer

    async def _ask_all(self) -> Health:
        try:
            found = await asyncio.gather(*(self._ask(probe, otherwise) for probe, otherwise in self._probes))
            dependencies = {name: part for parts in found for name, part in parts.items()}
            self._log_changes(dependencies)
            metrics.database_up.set(dependencies["database"].status is Status.OK)
            self._latest = Health(
                status=overall(dependencies),
                version=__version__,
                uptime_seconds=int(time.monotonic() - _STARTED),
                dependencies=dependencies,
            )
            self._asked_at = time.monotonic()
            return self._latest
        finally:
            self._running = None

    async def _ask(self, probe: Callable[[], Dependencies], otherwise: Dependencies) -> Dependencies:
        """The probes keep time themselves; this is for what they cannot limit, such as looking up a name."""
        asking = asyncio.get_running_loop().run_in_executor(self._threads, probe)
        try:
            return await asyncio.wait_for(asking, TIMEOUT_SECONDS + 0.5)
        except TimeoutError:
            return otherwise

    def _log_changes(self, dependencies: Dependencies) -> None:
        before = self._latest.dependencies if self._latest else {}
        for name, now in dependencies.items():
            was = before[name].status if name in before else Status.OK
            if now.status != was and now.status not in (Status.NOT_CONFIGURED, Status.UNKNOWN):
                write = log.info if now.status is Status.OK else log.warning
                write("dependency changed", dependency=name, status=now.status.value, cause=now.cause or now.detail)


def overall(dependencies: Dependencies) -> Overall:
    """Return what the parts' states mean for the whole."""
    if not is_ready(dependencies):
        return Overall.UNHEALTHY
    fine = (Status.OK, Status.NOT_CONFIGURED)
    return Overall.OK if all(part.status in fine for part in dependencies.values()) else Overall.DEGRADED


def is_ready(dependencies: Dependencies) -> bool:
    """Tell whether requests can be served."""
    return all(dependencies[name].status is Status.OK for name in VITAL)


def _probe_database(connect_options: Mapping[str, Any]) -> Dependencies:
    started = time.perf_counter()
    try:
        with PostgresProbe(connect_options, timeout_seconds=TIMEOUT_SECONDS) as probe:
            probe.first_row("SELECT 1")
            latency_ms = _milliseconds_since(started)
            with suppress(psycopg2.errors.ConfigurationLimitExceeded):  # temp_file_limit, which is no disk's
                probe.first_row(_TAKE_ROOM)
            migrations, unknown = _check_migrations(probe), Dependency(status=Status.UNKNOWN)
            is_migrated = migrations.status is Status.OK
            return {
                "database": Dependency(status=Status.OK, latency_ms=latency_ms),
                "migrations": migrations,
                "workers": _check_workers(probe) if is_migrated else unknown,
                "audience": _check_audience(probe) if is_migrated else unknown,
            }
    except NoAnswer:
        return _database_is_down(f"No answer within {TIMEOUT_SECONDS:g} s.")
    except NotReachable as error:
        return _database_is_down("It cannot be connected to.", cause=str(error))
    except psycopg2.errors.DiskFull:
        return _database_is_down("Its disk is full: make room.")
    except psycopg2.Error as error:
        cause = f"{type(error).__name__} {error.pgcode or ''}"
        return _database_is_down("It answers with an error.", cause=cause)


def _database_is_down(detail: str, *, cause: str | None = None) -> Dependencies:
    unknown = Dependency(status=Status.UNKNOWN, detail="The database is down.")
    return {
        "database": Dependency(status=Status.DOWN, detail=detail, cause=cause),
        "migrations": unknown,
        "workers": unknown,
        "audience": unknown,
    }


def _check_migrations(probe: PostgresProbe) -> Dependency:
    try:
        row = probe.first_row(_CURRENT_REVISION)
    except psycopg2.errors.UndefinedTable:
        row = None
    head, known = _revisions()
    if row is None:
        return Dependency(status=Status.DOWN, detail="There are no tables yet: run alembic upgrade head.")
    if row[0] == head:
        return Dependency(status=Status.OK)
    if row[0] not in known:
        # While a release is rolled out, its migrations are there before this process is replaced.
        return Dependency(status=Status.OK, detail="The schema is of a newer release.")
    return Dependency(
        status=Status.DOWN, detail=f"The schema is at {row[0]}, not {head}: run alembic upgrade head."
    )


def _check_workers(probe: PostgresProbe) -> Dependency:
    drain = probe.first_row(_DRAINING_SINCE)
    if drain is not None:
        since, note = drain
        # The operator's note is for the log: what stands here is public.
        return Dependency(
            status=Status.DEGRADED,
            detail=f"Drained since {since} UTC: nothing is sent until `python -m app.cli drain --end`.",
            cause=note,
        )
    row = probe.first_row(_LONGEST_WAIT)
    waited_seconds = row[0] if row else None
    if waited_seconds is not None and waited_seconds > STUCK_AFTER_SECONDS:
        return Dependency(
            status=Status.DEGRADED, detail=f"A delivery has been due for {waited_seconds} s: does a worker run?"
        )
    return Dependency(status=Status.OK)


def _check_audience(probe: PostgresProbe) -> Dependency:
    is_held, is_refused = probe.first_row(_HELD_AND_REFUSED) or (False, False)
    said = []
    if is_held:
        said.append("Very many subscriptions were called gone at once. They are held until somebody decides.")
    if is_refused:
        said.append("A push service refuses our credentials: are VAPID_SUBJECT and the VAPID keys right?")
    if not said:
        return Dependency(status=Status.OK)
    return Dependency(status=Status.DEGRADED, detail=" ".join([*said, "See `python -m app.cli quarantine list`."]))


@lru_cache(maxsize=1)
def _revisions() -> tuple[str | None, frozenset[str]]:
    """Return this release's newest revision, and all it knows."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    return scripts.get_current_head(), frozenset(script.revision for script in scripts.walk_revisions())


def _redis_client(redis_url: str | None) -> redis.Redis | None:
    if redis_url is None:
        return None
    return redis.Redis.from_url(
        redis_url,
        socket_timeout=TIMEOUT_SECONDS / 2,
        socket_connect_timeout=TIMEOUT_SECONDS / 2,
        retry=Retry(NoBackoff(), 1),  # a connection that a restarted Redis closed is simply opened again
    )


def _probe_redis(client: redis.Redis | None) -> Dependencies:
    if client is None:
        return {"redis": Dependency(status=Status.NOT_CONFIGURED, detail="Rate limits are counted in memory.")}
    started = time.perf_counter()
    try:
        client.ping()
    except Exception as error:  # what is there may not be Redis, and answer anything
        detail = "It cannot be used: rate limits are not enforced."
        return {"redis": Dependency(status=Status.DOWN, detail=detail, cause=str(error))}
    return {"redis": Dependency(status=Status.OK, latency_ms=_milliseconds_since(started))}


def _milliseconds_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)
