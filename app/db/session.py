"""Engines, session factories and the one way to open a transaction."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, exc, func, make_url, select, text
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from app.db import embedded
from app.settings import Settings

SessionFactory = sessionmaker[Session]

# The database is away, busy, or a standby that only reads (25006, an InternalError); or two transactions met
# (deadlock, 40P01). The same again may succeed.
PASSING_ERRORS = (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError)

CONNECT_TIMEOUT_SECONDS = 5
POOL_TIMEOUT_SECONDS = 5
TESTED_AFTER_SECONDS = 1.0
STATEMENT_TIMEOUT_MS = 30_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 60_000


def database_url_of(settings: Settings) -> str:
    """Return DATABASE_URL, or start (or attach to) the embedded PostgreSQL and return its URL.

    Raises EmbeddedPostgresUnavailable when there is neither.
    """
    return settings.database_url or embedded.database_url(settings.data_dir)


def with_driver(database_url: str) -> URL:
    """Return the URL as SQLAlchemy wants it: of itself it would choose another driver than psycopg2."""
    return make_url(database_url).set(drivername="postgresql+psycopg2")


def create_sessions(database_url: str, *, pool_size: int = 10, max_overflow: int = 10) -> SessionFactory:
    """Return a session factory over a new connection pool. Connects to nothing yet.

    A connection that was idle is tested before use, so a restarted database costs a reconnection, not an error.
    """
    options = (
        f"-c timezone=UTC -c statement_timeout={STATEMENT_TIMEOUT_MS}"
        f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_MS}"
    )
    engine = create_engine(
        with_driver(database_url),
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        # Whoever waited for a lock must see what its holder committed; the shared database's default may differ.
        isolation_level="READ COMMITTED",
        hide_parameters=True,  # the text of an error ends in logs; endpoints and keys must not
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "application_name": "push-notification-service",
            "options": options,
            # A server that vanished without a word is noticed within a minute, not after a quarter of an hour.
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,  # milliseconds
        },
    )
    _test_idle_connections(engine)
    return sessionmaker(engine, expire_on_commit=False, autoflush=False)


def _test_idle_connections(engine: Engine) -> None:
    """As `pool_pre_ping` does, but only after a pause: tested each time, it costs more than what is asked.

    A connection that breaks while it is in use is an error of PASSING_ERRORS either way.
    """

    @event.listens_for(engine, "checkin")
    def note_the_time(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def test(connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
        used_at = record.info.get("used_at")
        if used_at is None or time.monotonic() - used_at < TESTED_AFTER_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise exc.DisconnectionError from error  # the pool connects anew


def engine_of(sessions: SessionFactory) -> Engine:
    """Return the engine behind a session factory: for what is no transaction, such as closing the pool."""
    engine = sessions.kw["bind"]
    assert isinstance(engine, Engine)
    return engine


@contextmanager
def transaction(sessions: SessionFactory) -> Iterator[Session]:
    """Run the block in one transaction: committed at its end, rolled back if it raises."""
    with sessions() as session, session.begin():
        yield session


def without_time_limit(session: Session) -> None:
    """Let what the transaction still does take as long as it takes: it may read an audience of millions."""
    session.execute(text("SET LOCAL statement_timeout = 0"))


def database_now(session: Session) -> datetime:
    """Return the database's clock (its transaction start), the one clock all processes share."""
    return session.scalars(select(func.now())).one()
