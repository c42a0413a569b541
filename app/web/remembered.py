"""What is asked of the database at nearly every request, remembered by the process for some seconds."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from sqlalchemy.orm import Session

from app.db.session import SessionFactory, transaction

Value = TypeVar("Value")


class Remembered(Generic[Value]):
    """The answer to one question to the database, asked again once it is too old. Safe to share between threads.

    Threads that meet at that moment ask at the same time: none waits for another's database.
    """

    def __init__(
        self, read: Callable[[Session], Value], *, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._seconds = seconds
        self._clock = clock
        self._held: tuple[Value, float] | None = None

    def get(self, sessions: SessionFactory, *, max_age_seconds: float | None = None) -> Value:
        """Return what the database said within these seconds, by default those of the constructor."""
        now = self._clock()
        held = self._held
        if held is not None and now - held[1] < (self._seconds if max_age_seconds is None else max_age_seconds):
            return held[0]
        with transaction(sessions) as session:
            value = self._read(session)
        self._held = value, now  # as old as the question
        return value
