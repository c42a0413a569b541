"""One process among many: the one that holds an advisory lock of the database."""

from contextlib import suppress

from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from app.db.session import SessionFactory, engine_of


class Leader:
    """A claim to lead. The lock is held on a connection of its own, so it ends with the process or the database.

    Not safe to share between threads.
    """

    def __init__(self, lock_key: int) -> None:
        self._lock_key = lock_key
        self._connection: Connection | None = None

    def leads(self, sessions: SessionFactory) -> bool:
        """Tell whether this process leads now, after trying to take over if nobody does.

        Raises SQLAlchemyError when the database cannot be asked; leadership is then lost.
        """
        if self._connection is not None:
            try:
                self._connection.execute(text("SELECT 1"))
                return True
            except SQLAlchemyError:
                self.resign()
        return self._try_to_take_over(sessions)

    def resign(self) -> None:
        """Let another process lead, at once if the database answers."""
        if self._connection is None:
            return
        with suppress(SQLAlchemyError):  # the lock ends with its connection anyway
            if not self._connection.invalidated:
                self._connection.execute(select(func.pg_advisory_unlock(self._lock_key)))
        with suppress(SQLAlchemyError):  # it was closed already, by the other side
            self._connection.close()
        self._connection = None

    def _try_to_take_over(self, sessions: SessionFactory) -> bool:
        # Autocommit: a connection that idles in a transaction would be ended by its own timeout.
        connection = engine_of(sessions).connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            if connection.scalar(select(func.pg_try_advisory_lock(self._lock_key))):
                connection.detach()  # closing it then really closes it, and the lock with it
                self._connection = connection
        finally:
            if self._connection is not connection:
                connection.close()
        return self._connection is connection
