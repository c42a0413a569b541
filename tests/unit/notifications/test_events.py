"""The feed that listeners to progress share, on an event loop whose time is made up."""

import asyncio
import selectors
from collections.abc import AsyncGenerator, Coroutine, Mapping, Set
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from app.ids import new_id
from app.models import NotificationState
from app.notifications.events import KEEP_ALIVE_SECONDS, ProgressFeed, TooManyListeners
from app.notifications.schemas import Progress

ID, OTHER_ID = new_id(), new_id()


class _SelectorThatDoesNotWait(selectors.DefaultSelector):
    """Instead of waiting, lets the time go by."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "everybody waits for somebody else"
        self.now += max(0.0, timeout)
        return super().select(0)


class _LoopWithMadeUpTime(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._made_up = _SelectorThatDoesNotWait()
        super().__init__(self._made_up)

    def time(self) -> float:
        return self._made_up.now


def run(story: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=_LoopWithMadeUpTime) as runner:
        runner.run(story)


class Ledger:
    """What a look finds: `sent` of ten, and all of it finished once they are ten. Counts the looks."""

    def __init__(self) -> None:
        self.sent = {ID: 0, OTHER_ID: 0}
        self.looks: list[Set[UUID]] = []
        self.error: Exception | None = None

    async def __call__(self, notification_ids: Set[UUID]) -> Mapping[UUID, Progress]:
        self.looks.append(notification_ids)
        if self.error is not None:
            raise self.error
        return {each: self.now(each) for each in notification_ids if each in self.sent}

    def now(self, notification_id: UUID = ID) -> Progress:
        sent = self.sent[notification_id]
        is_over = sent == 10
        return Progress(
            id=notification_id,
            status=NotificationState.SENT if is_over else NotificationState.SENDING,
            targeted=10,
            sent=sent,
            pending=10 - sent,
            rate_per_second=None,
            seconds_left=None,
            finished_at=datetime(2026, 1, 1, tzinfo=UTC) if is_over else None,
        )


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def told(state: Progress | None) -> int | None:
    return None if state is None else state.sent


async def rest_of(states: AsyncGenerator[Progress | None]) -> list[int | None]:
    return [told(state) async for state in states]


def test_a_listener_hears_the_present_then_each_change_and_the_end(ledger: Ledger) -> None:
    async def story() -> None:
        states = ProgressFeed(ledger).listen(ledger.now())
        heard = [told(await anext(states))]
        for ledger.sent[ID] in (4, 10):
            heard.append(told(await anext(states)))
        heard += await rest_of(states)

        assert heard == [0, 4, 10]

    run(story())


def test_what_is_finished_is_told_once_and_never_looked_at(ledger: Ledger) -> None:
    ledger.sent[ID] = 10

    async def story() -> None:
        feed = ProgressFeed(ledger)

        assert await rest_of(feed.listen(ledger.now())) == [10]
        assert feed.listeners == 0

    run(story())
    assert ledger.looks == []


def test_any_number_of_listeners_cost_one_look_a_second(ledger: Ledger) -> None:
    async def story() -> None:
        feed = ProgressFeed(ledger)
        every = [feed.listen(ledger.now(each)) for each in (ID, OTHER_ID) for _ in range(50)]
        for states in every:
            await anext(states)

        await asyncio.sleep(5.5)

        assert feed.listeners == 100
        for states in every:
            await states.aclose()

    run(story())
    assert ledger.looks == [{ID, OTHER_ID}] * 5


def test_nobody_looks_while_nobody_listens(ledger: Ledger) -> None:
    async def story() -> None:
        feed = ProgressFeed(ledger)
        async with aclosing(feed.listen(ledger.now())) as states:
            await anext(states)
            await asyncio.sleep(1.5)
        assert feed.listeners == 0

        await asyncio.sleep(60)

        assert len(ledger.looks) == 1
        async with aclosing(feed.listen(ledger.now())) as states:
            await anext(states)
            await asyncio.sleep(1.5)

    run(story())
    assert len(ledger.looks) == 2


def test_one_that_is_cancelled_while_it_waits_is_forgotten_at_once(ledger: Ledger) -> None:
    async def story() -> None:
        feed = ProgressFeed(ledger)
        states = feed.listen(ledger.now())
        await anext(states)
        waiting = asyncio.create_task(rest_of(states))
        await asyncio.sleep(0.5)

        waiting.cancel()
        await asyncio.wait([waiting])

        assert feed.listeners == 0

    run(story())


def test_a_slow_listener_gets_the_newest_state_only(ledger: Ledger) -> None:
    async def story() -> None:
        states = ProgressFeed(ledger).listen(ledger.now())
        await anext(states)
        for ledger.sent[ID] in (1, 2, 3, 4):
            await asyncio.sleep(2)

        newest = told(await anext(states))
        ledger.sent[ID] = 10

        assert newest == 4
        assert await rest_of(states) == [10]

    run(story())


def test_who_comes_while_a_look_is_under_way_is_not_told_what_was_before(ledger: Ledger) -> None:
    async def look_that_takes_time(ids: Set[UUID]) -> Mapping[UUID, Progress]:
        found = await ledger(ids)
        await asyncio.sleep(0.5)
        return found

    async def story() -> None:
        feed = ProgressFeed(look_that_takes_time)
        earlier = feed.listen(ledger.now())
        await anext(earlier)
        ledger.sent[ID] = 1
        await asyncio.sleep(1.2)
        ledger.sent[ID] = 2
        states = feed.listen(ledger.now())
        heard = [told(await anext(states))]
        await asyncio.sleep(1)
        ledger.sent[ID] = 3
        heard.append(told(await anext(states)))

        assert heard == [2, 3]
        await states.aclose()
        await earlier.aclose()

    run(story())


def test_when_nothing_happens_a_sign_of_life_is_due_every_15_seconds(ledger: Ledger) -> None:
    async def story() -> None:
        states = ProgressFeed(ledger).listen(ledger.now())
        await anext(states)
        began_at = asyncio.get_running_loop().time()

        signs = [await anext(states) for _ in range(4)]

        passed = asyncio.get_running_loop().time() - began_at
        assert signs == [None] * 4
        assert passed == pytest.approx(4 * KEEP_ALIVE_SECONDS)
        await states.aclose()

    run(story())


def test_a_database_that_is_away_is_waited_for_and_said_once(ledger: Ledger) -> None:
    async def story() -> None:
        states = ProgressFeed(ledger).listen(ledger.now())
        await anext(states)
        ledger.error = OperationalError("SELECT", {}, Exception("gone"))
        quiet = await anext(states)
        ledger.error, ledger.sent[ID] = None, 10

        assert quiet is None
        assert await rest_of(states) == [10]

    with capture_logs() as logs:
        run(story())
    assert [line["event"] for line in logs] == ["listeners wait for the database"]


def test_a_fault_in_a_look_ends_nobody(ledger: Ledger) -> None:
    async def story() -> None:
        states = ProgressFeed(ledger).listen(ledger.now())
        await anext(states)
        ledger.error = ValueError("a fault")
        await asyncio.sleep(1.5)
        ledger.error, ledger.sent[ID] = None, 10

        assert await rest_of(states) == [10]

    run(story())


def test_a_notification_that_is_deleted_ends_its_listeners(ledger: Ledger) -> None:
    async def story() -> None:
        states = ProgressFeed(ledger).listen(ledger.now())
        await anext(states)
        del ledger.sent[ID]

        assert await rest_of(states) == []

    run(story())


def test_all_end_when_the_server_stops_also_while_a_look_hangs(ledger: Ledger) -> None:
    is_stopping = False

    async def look_that_hangs(_ids: Set[UUID]) -> Mapping[UUID, Progress]:
        await asyncio.sleep(3600)
        raise AssertionError

    async def story() -> None:
        nonlocal is_stopping
        feed = ProgressFeed(look_that_hangs, is_stopping=lambda: is_stopping)
        listeners = [feed.listen(ledger.now(each)) for each in (ID, OTHER_ID)]
        for states in listeners:
            await anext(states)
        waiting = [asyncio.create_task(rest_of(states)) for states in listeners]
        await asyncio.sleep(2)

        is_stopping = True
        stopping_at = asyncio.get_running_loop().time()
        heard = await asyncio.gather(*waiting)

        assert heard == [[], []]
        assert asyncio.get_running_loop().time() - stopping_at < 0.2, "by the time that is made up"
        assert await rest_of(feed.listen(ledger.now())) == [0], "who comes now is told, and let go"
        assert feed.listeners == 0

    run(story())


def test_more_listeners_than_a_process_takes_are_refused(ledger: Ledger) -> None:
    async def story() -> None:
        feed = ProgressFeed(ledger, most_listeners=1)
        states = feed.listen(ledger.now())
        feed.refuse_if_full()
        await anext(states)

        with pytest.raises(TooManyListeners, match="1 listeners"):
            feed.refuse_if_full()

        await states.aclose()
        feed.refuse_if_full()

    run(story())
