"""Progress as it happens: one look a second for all notifications that anybody listens to, shared by all listeners.

For one event loop. The look itself happens in a thread.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from uuid import UUID

import structlog
from sqlalchemy import select

from app.db.session import PASSING_ERRORS, SessionFactory, transaction
from app.errors import Unavailable
from app.models import Notification
from app.notifications.progress import progress_of
from app.notifications.schemas import Progress
from app.observability import metrics

LOOK_EVERY_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 15.0
NOTICE_EVERY_SECONDS = 0.1  # that the server stops; as often as uvicorn itself
MOST_LISTENERS = 1_000

log = structlog.stdlib.get_logger(__name__)

Look = Callable[[Set[UUID]], Awaitable[Mapping[UUID, Progress]]]


class TooManyListeners(Unavailable):
    code = "too-many-listeners"
    title = "Too many listen already"


class ProgressFeed:
    """What listeners hear. Nobody looks while nobody listens."""

    def __init__(
        self, look: Look, *, is_stopping: Callable[[], bool] = lambda: False, most_listeners: int = MOST_LISTENERS
    ) -> None:
        self._look = look
        self._is_stopping = is_stopping
        self._most_listeners = most_listeners
        self._listeners: defaultdict[UUID, set[_Listener]] = defaultdict(set)
        self._looking: asyncio.Task[None] | None = None
        self._is_away = False  # the database

    @property
    def listeners(self) -> int:
        return sum(len(each) for each in self._listeners.values())

    def refuse_if_full(self) -> None:
        """Raise TooManyListeners when this process has as many as it takes."""
        if self.listeners >= self._most_listeners:
            raise TooManyListeners(
                f"This process has {self._most_listeners} listeners already. Ask for the notification itself, now"
                " and then, or listen again later."
            )

    async def listen(self, first: Progress) -> AsyncGenerator[Progress | None]:
        """Yield `first`, and the newest state whenever it has changed; None after KEEP_ALIVE_SECONDS without.

        Ends after the state in which the notification is finished; also when it is deleted, and when the server
        stops. Who is slow to ask for the next misses those between.
        """
        if first.finished_at is not None or self._is_stopping():
            yield first
            return
        listener = _Listener(first)
        self._listeners[first.id].add(listener)
        metrics.event_listeners.inc()
        self._begin_to_look()
        try:
            newest: Progress | None = first
            while newest is not None:
                yield newest
                if newest.finished_at is not None:
                    return
                while not await listener.hears_something():
                    yield None
                newest = listener.newest
        finally:
            self._forget(first.id, listener)

    def _forget(self, notification_id: UUID, listener: "_Listener") -> None:
        self._listeners[notification_id].discard(listener)
        metrics.event_listeners.dec()
        if not self._listeners[notification_id]:
            del self._listeners[notification_id]
        if not self._listeners and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _begin_to_look(self) -> None:
        if self._looking is None:
            # A context of its own: what it logs is not of the request that happened to be first.
            self._looking = asyncio.get_running_loop().create_task(self._keep_looking(), context=Context())

    async def _keep_looking(self) -> None:
        looking = asyncio.create_task(self._look_every_second())
        try:
            while not self._is_stopping():
                await asyncio.sleep(NOTICE_EVERY_SECONDS)
            for listeners in self._listeners.values():
                _tell(listeners, None)
        finally:
            looking.cancel()

    async def _look_every_second(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            # Who comes while we look knows better than what is found: a count would go backwards.
            present = {each: frozenset(listeners) for each, listeners in self._listeners.items()}
            try:
                found = await self._look(present.keys())
            except PASSING_ERRORS as error:
                self._note_that_the_database_is(away=True, error=type(error).__name__)
            except Exception:
                log.exception("progress not looked at")
            else:
                self._note_that_the_database_is(away=False)
                for each, listeners in present.items():
                    _tell(listeners, found.get(each))

    def _note_that_the_database_is(self, *, away: bool, **why: str) -> None:
        if away and not self._is_away:
            log.warning("listeners wait for the database", **why)
        self._is_away = away


def _tell(listeners: Iterable["_Listener"], progress: Progress | None) -> None:
    for each in listeners:
        each.tell(progress)


class _Listener:
    """One of them, and the newest state that it is to hear; None when there will be none."""

    def __init__(self, first: Progress) -> None:
        self.newest: Progress | None = first
        self._news = asyncio.Event()

    def tell(self, progress: Progress | None) -> None:
        if progress != self.newest:
            self.newest = progress
            self._news.set()

    async def hears_something(self) -> bool:
        """Wait for news. False when there was none for a while."""
        try:
            async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True


class Looking:
    """The look at the database, in a thread of its own: those that serve requests may all be waiting for it."""

    def __init__(self, sessions: SessionFactory) -> None:
        self._sessions = sessions
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="progress")

    async def __call__(self, notification_ids: Set[UUID]) -> Mapping[UUID, Progress]:
        """Return how far each has come, of those that are there. Raises PASSING_ERRORS."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, notification_ids)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _read(self, notification_ids: Set[UUID]) -> Mapping[UUID, Progress]:
        with transaction(self._sessions) as session:
            rows = session.scalars(select(Notification).where(Notification.id.in_(notification_ids))).all()
            return {key: progress.shown() for key, progress in progress_of(session, rows).items()}
