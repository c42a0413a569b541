"""Asks PostgreSQL for signs of life, on a connection of its own and within a hard time limit.

Not through the pool: it may be exhausted. And not by blocking calls: a server that is halted, or behind a dead
network, takes the question and never answers, and then no timeout on its side can help.
"""

import select
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import psycopg2
from psycopg2 import extensions

Row = tuple[Any, ...]

_EVENTS = {extensions.POLL_READ: select.POLLIN, extensions.POLL_WRITE: select.POLLOUT}


class NoAnswer(Exception):
    """The database did not answer in time."""


class NotReachable(Exception):
    """The database cannot be connected to."""


class PostgresProbe:
    """A short connection. Use it as a context manager; every answer has to come before the one deadline."""

    def __init__(self, connect_options: Mapping[str, Any], *, timeout_seconds: float) -> None:
        """Connect. Raises NoAnswer or NotReachable."""
        self._deadline = time.monotonic() + timeout_seconds
        try:
            self._connection = psycopg2.connect(**connect_options, async_=1)
            self._wait()
        except psycopg2.OperationalError as error:
            raise NotReachable(str(error).strip()) from error

    def __enter__(self) -> "PostgresProbe":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def first_row(self, sql: str) -> Row | None:
        """Return the first row of the query's result. Raises NoAnswer, or psycopg2.Error when the query fails."""
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(sql)
            self._wait()
            row: Row | None = cursor.fetchone()
            return row

    def _wait(self) -> None:
        while (state := self._connection.poll()) != extensions.POLL_OK:
            # poll(), because select() takes no descriptor above 1023.
            waiter = select.poll()
            waiter.register(self._connection.fileno(), _EVENTS[state])
            milliseconds_left = max(0.0, self._deadline - time.monotonic()) * 1000
            if not waiter.poll(milliseconds_left):
                raise NoAnswer
