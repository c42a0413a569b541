"""The doorbell: tells the workers of every process that there is something to do. It goes through PostgreSQL.

A ring that is missed costs time, nothing else: workers look for themselves, too. So a database that is away, and a
connection pooler that passes no notifications on, are no errors here.
"""

import selectors
import socket
import time
from contextlib import suppress
from typing import Any

import structlog
from psycopg2 import Error as DriverError
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.db.session import SessionFactory, engine_of

CHANNEL = "push_work"
RECONNECT_AFTER_SECONDS = 5.0

_NOTIFY = text(f"NOTIFY {CHANNEL}")
_LISTEN = text(f"LISTEN {CHANNEL}")
_IS_ANYBODY_LISTENING = text(
    "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND query = :listen)"
)

log = structlog.get_logger(__name__)


class Bell:
    """Rung after something was committed that a worker should look at."""

    def __init__(self, sessions: SessionFactory) -> None:
        self._sessions = sessions

    def ring(self) -> None:
        """Wake the workers. Raises nothing: what was accepted stays accepted when nobody could be woken."""
        try:
            with _connect(self._sessions) as connection:
                connection.execute(_NOTIFY)
        except SQLAlchemyError as error:
            log.warning("workers not rung; they look for themselves", error=type(error).__name__)


def is_anybody_listening(session: Session) -> bool:
    """Return whether a worker seems to run.

    Behind a pooler that passes no notifications on, none seems to; nor one that logs in as another database user.
    """
    return session.execute(_IS_ANYBODY_LISTENING, {"listen": _LISTEN.text}).scalar_one() is True


class Listener:
    """Hears the bell, on a connection of its own that it keeps and renews. One thread waits on it."""

    def __init__(self, sessions: SessionFactory) -> None:
        self._sessions = sessions
        self._connection: Connection | None = None
        self._descriptor: int | None = None
        self._connect_again_at = 0.0
        self._interrupted, self._interrupt = socket.socketpair()
        self._interrupt.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._interrupted, selectors.EVENT_READ)

    def wait(self, timeout_seconds: float) -> bool:
        """Return True when the bell is rung, and False after the timeout or when interrupted.

        True also when it has only begun to listen: what was rung before that, nobody heard.
        """
        if self._connection is None and time.monotonic() >= self._connect_again_at and self._begin_to_listen():
            return True
        ready = {key.fileobj for key, _ in self._selector.select(timeout_seconds)}
        if self._interrupted in ready:
            self._interrupted.recv(4096)
        return self._is_rung() if ready - {self._interrupted} else False

    def interrupt(self) -> None:
        """End the wait, or the next one. For other threads."""
        # Closed; or so many interrupts are waiting already that one more says nothing new.
        with suppress(OSError):
            self._interrupt.send(b"!")

    def close(self) -> None:
        """Stop listening. The thread that waits calls it."""
        self._forget_connection()
        self._selector.close()
        self._interrupted.close()
        self._interrupt.close()

    def _begin_to_listen(self) -> bool:
        try:
            connection = _connect(self._sessions)
            connection.detach()  # not the pool's any more: it is never given back
            self._connection = connection
            connection.execute(_LISTEN)
            self._descriptor = _driver(connection).fileno()
            self._selector.register(self._descriptor, selectors.EVENT_READ)
        except SQLAlchemyError:
            # Whoever looks for work says that the database is away.
            self._forget_connection()
            return False
        return True

    def _is_rung(self) -> bool:
        assert self._connection is not None
        driver = _driver(self._connection)
        try:
            driver.poll()
        except DriverError:
            self._forget_connection()
            return False
        is_rung = bool(driver.notifies)
        driver.notifies.clear()
        return is_rung

    def _forget_connection(self) -> None:
        self._connect_again_at = time.monotonic() + RECONNECT_AFTER_SECONDS
        if self._descriptor is not None:
            self._selector.unregister(self._descriptor)
            self._descriptor = None
        if self._connection is not None:
            with suppress(SQLAlchemyError):  # it was closed already, by the other side
                self._connection.close()
            self._connection = None


def _connect(sessions: SessionFactory) -> Connection:
    # Autocommit: a notification leaves at once, and a listener that idled in a transaction would be ended.
    return engine_of(sessions).connect().execution_options(isolation_level="AUTOCOMMIT")


def _driver(connection: Connection) -> Any:
    return connection.connection.dbapi_connection
