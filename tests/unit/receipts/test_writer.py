"""Requests share a commit, wait for it, and none bears what is wrong with another."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from threading import Event as Signal
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.exc import OperationalError

from app.delivery.report import Event, Report, Verdict, Written
from app.delivery.token import DeliveryKey
from app.receipts import writer
from app.receipts.writer import ReceiptsNotWritten, ReceiptWriter, TooManyReceipts

ACCEPTED = Written(Verdict.ACCEPTED)
IN_MAY, IN_JUNE = datetime(2026, 5, 31, 23, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)

Go = Callable[[ReceiptWriter], Coroutine[Any, Any, None]]


def a_report(subscription_id: UUID | None = None, *, planned_at: datetime = IN_MAY) -> Report:
    return Report(DeliveryKey(planned_at, UUID(int=1), subscription_id or uuid4()), Event.DISPLAYED)


class Database:
    """What is written, transaction by transaction. The first one waits for `go_on`."""

    def __init__(self) -> None:
        self.transactions: list[list[Report]] = []
        self.go_on = Signal()
        self.go_on.set()
        self.verdict_of: Callable[[Report], Verdict] = lambda _: Verdict.ACCEPTED
        self.refuses: Callable[[Report], Exception | None] = lambda _: None

    def write(self, reports: Sequence[Report]) -> list[Written]:
        self.transactions.append(list(reports))
        self.go_on.wait()
        for report in reports:
            if (error := self.refuses(report)) is not None:
                raise error
        return [Written(self.verdict_of(report)) for report in reports]


@pytest.fixture
def database() -> Database:
    return Database()


def run(database: Database, go: Go, *, most_waiting: int = 100) -> None:
    """Run it beside a writer to this database, which is closed at the end."""

    async def beside() -> None:
        receipts = ReceiptWriter(database.write, most_waiting=most_waiting)
        try:
            await go(receipts)
        finally:
            database.go_on.set()
            await asyncio.to_thread(receipts.close)

    asyncio.run(beside())


async def _under_way(database: Database) -> None:
    while not database.transactions:
        await asyncio.sleep(0)


def test_what_comes_while_one_write_runs_is_written_together(database: Database) -> None:
    database.go_on.clear()
    first, *others = [a_report() for _ in range(5)]

    async def go(receipts: ReceiptWriter) -> None:
        alone = asyncio.create_task(receipts.add([first]))
        await _under_way(database)
        together = [asyncio.create_task(receipts.add([report])) for report in others]
        await asyncio.sleep(0)
        assert not alone.done()
        database.go_on.set()
        assert await asyncio.gather(alone, *together) == [[ACCEPTED]] * 5

    run(database, go)

    assert database.transactions == [[first], others]


def test_each_request_hears_of_its_own_in_its_order(database: Database) -> None:
    unknown = a_report()
    database.verdict_of = lambda report: Verdict.UNKNOWN if report is unknown else Verdict.ACCEPTED

    async def go(receipts: ReceiptWriter) -> None:
        results = await asyncio.gather(receipts.add([a_report(), unknown]), receipts.add([unknown, a_report()]))
        assert [[each.verdict for each in result] for result in results] == [
            [Verdict.ACCEPTED, Verdict.UNKNOWN],
            [Verdict.UNKNOWN, Verdict.ACCEPTED],
        ]

    run(database, go)


def test_a_transaction_is_of_one_month(database: Database) -> None:
    may, june = a_report(planned_at=IN_MAY), a_report(planned_at=IN_JUNE)

    async def go(receipts: ReceiptWriter) -> None:
        assert await receipts.add([may, june]) == [ACCEPTED] * 2

    run(database, go)

    assert database.transactions == [[may], [june]]


def test_what_another_holds_is_tried_again_and_nobody_waits_for_it(database: Database) -> None:
    held, free = a_report(), a_report()
    database.verdict_of = lambda report: Verdict.BUSY if report is held else Verdict.ACCEPTED

    async def go(receipts: ReceiptWriter) -> None:
        waiting = asyncio.create_task(receipts.add([held]))
        assert await receipts.add([free]) == [ACCEPTED]
        assert not waiting.done()
        database.verdict_of = lambda _: Verdict.ACCEPTED
        assert await waiting == [ACCEPTED]

    run(database, go)


def test_one_that_is_held_for_too_long_is_to_be_sent_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PATIENCE_SECONDS", 0.0)
    database.verdict_of = lambda _: Verdict.BUSY

    async def go(receipts: ReceiptWriter) -> None:
        with pytest.raises(ReceiptsNotWritten):
            await receipts.add([a_report()])

    run(database, go)


def test_a_database_that_is_away_is_a_503_to_all_who_wait_and_not_to_the_next(database: Database) -> None:
    database.refuses = lambda _: OperationalError("", {}, Exception())

    async def go(receipts: ReceiptWriter) -> None:
        errors = await asyncio.gather(*(receipts.add([a_report()]) for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in errors] == [ReceiptsNotWritten] * 3
        database.refuses = lambda _: None
        assert await receipts.add([a_report()]) == [ACCEPTED]

    run(database, go)


def test_what_nobody_expects_of_one_request_is_that_ones_alone(database: Database) -> None:
    bad = a_report()
    database.refuses = lambda report: ValueError("bad") if report is bad else None
    database.go_on.clear()

    async def go(receipts: ReceiptWriter) -> None:
        requests = [asyncio.create_task(receipts.add([report])) for report in (a_report(), bad, a_report())]
        await _under_way(database)
        database.go_on.set()
        results = await asyncio.gather(*requests, return_exceptions=True)
        assert [type(result) for result in results] == [list, ValueError, list]

    run(database, go)


def test_no_more_wait_than_can_be_kept(database: Database) -> None:
    database.go_on.clear()

    async def go(receipts: ReceiptWriter) -> None:
        waiting = asyncio.create_task(receipts.add([a_report()] * 3))
        await asyncio.sleep(0)
        with pytest.raises(TooManyReceipts):
            await receipts.add([a_report()])
        database.go_on.set()
        await waiting
        assert await receipts.add([a_report()] * 3) == [ACCEPTED] * 3

    run(database, go, most_waiting=3)


def test_what_waits_at_the_end_is_still_written(database: Database) -> None:
    async def go(receipts: ReceiptWriter) -> None:
        database.go_on.clear()
        waiting = [asyncio.create_task(receipts.add([a_report()])) for _ in range(2)]
        await _under_way(database)
        closing = asyncio.create_task(asyncio.to_thread(receipts.close))
        database.go_on.set()
        await closing
        assert await asyncio.gather(*waiting) == [[ACCEPTED]] * 2
        with pytest.raises(ReceiptsNotWritten):
            await receipts.add([a_report()])

    run(database, go)


def test_who_has_gone_is_not_waited_for(database: Database) -> None:
    database.go_on.clear()
    gone = a_report()

    async def go(receipts: ReceiptWriter) -> None:
        request = asyncio.create_task(receipts.add([gone]))
        await _under_way(database)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        database.go_on.set()
        assert await receipts.add([a_report()]) == [ACCEPTED]

    run(database, go)

    assert database.transactions[0] == [gone]
