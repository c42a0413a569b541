"""What browsers report is written once each, and the ledger adds up whoever writes to it meanwhile."""

from collections.abc import Sequence
from datetime import timedelta
from threading import Thread
from uuid import uuid4

import pytest
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db.session import SessionFactory, transaction
from app.delivery import closing, receipts
from app.delivery.cancel import cancel
from app.delivery.erasing import unlink
from app.delivery.finish import finish_if_done
from app.delivery.lease import lease_batch
from app.delivery.partitions import drop_month
from app.delivery.report import Event, Report, Verdict, Written
from app.delivery.token import DeliveryKey
from app.models import DeliveryBatch, DeliveryLog, DeliveryStatus, Notification
from app.receipts.service import record
from app.users.repository import forget_receipts
from tests.support.delivery import is_somebody_waiting
from tests.support.receipts import adds_up, batch_ids_of, batch_of, deliveries, receipts_of, row_of
from tests.support.waiting import until


@pytest.fixture
def sessions(module_sessions: SessionFactory) -> SessionFactory:
    return module_sessions


def displayed(delivery: DeliveryKey, *, seconds_ago: float = 0.0) -> Report:
    return Report(delivery, Event.DISPLAYED, seconds_ago=seconds_ago)


def verdicts(sessions: SessionFactory, *reports: Report) -> list[Verdict]:
    return [written.verdict for written in record(sessions, reports)]


@pytest.mark.parametrize("counted", [True, False], ids=["counted", "by an early version"])
@pytest.mark.parametrize("before", ["sent", "failed", "expired"])
def test_what_was_displayed_is_delivered_whatever_was_known(
    sessions: SessionFactory, before: str, counted: bool
) -> None:
    delivery, other = deliveries(sessions, {before: 2}, counted=counted)

    assert verdicts(sessions, displayed(delivery)) == [Verdict.ACCEPTED]

    row = row_of(sessions, delivery)
    assert (row.status, row.reason, row.error_message) == (DeliveryStatus.DELIVERED, None, None)
    assert row.sent_at is not None
    assert row_of(sessions, other).status == before
    assert batch_of(sessions, delivery).delivered_count == (1 if counted else None)
    assert adds_up(sessions, delivery)


def test_one_that_is_not_known_to_be_sent_is_delivered_too(sessions: SessionFactory) -> None:
    delivery, _ = deliveries(sessions, {"pending": 2})

    assert verdicts(sessions, displayed(delivery)) == [Verdict.ACCEPTED]

    row = row_of(sessions, delivery)
    assert (row.status, row.attempts) == (DeliveryStatus.DELIVERED, 1)
    assert row.sent_at == row.delivered_at
    assert adds_up(sessions, delivery)


def test_an_event_counts_once_the_first_time(sessions: SessionFactory) -> None:
    [delivery] = deliveries(sessions, {"sent": 1})
    reports = [
        displayed(delivery, seconds_ago=60),
        displayed(delivery, seconds_ago=30),
        Report(delivery, Event.CLICKED, "read", 20),
        Report(delivery, Event.CLICKED, None, 10),
        Report(delivery, Event.CLOSED),
    ]
    accepted, repeated = Verdict.ACCEPTED, Verdict.REPEATED

    assert verdicts(sessions, *reports) == [accepted, repeated, accepted, repeated, accepted]
    assert verdicts(sessions, *reports) == [repeated] * 5

    clicked, closed, shown = receipts_of(sessions, delivery)
    assert clicked.action == "read"
    assert (clicked.occurred_at - shown.occurred_at, closed.occurred_at - shown.occurred_at) == (
        timedelta(seconds=40),
        timedelta(seconds=60),
    )
    assert row_of(sessions, delivery).delivered_at == shown.occurred_at
    assert adds_up(sessions, delivery)


def test_nothing_happened_before_it_was_planned_or_after_it_was_reported(sessions: SessionFactory) -> None:
    long_ago, now = deliveries(sessions, {"sent": 2})

    record(sessions, [displayed(long_ago, seconds_ago=1e9), displayed(now)])

    assert row_of(sessions, long_ago).delivered_at == long_ago.planned_at
    [receipt] = receipts_of(sessions, now)
    assert receipt.occurred_at == receipt.received_at


@pytest.mark.parametrize("event", [Event.CLICKED, Event.CLOSED])
def test_only_what_was_displayed_changes_a_status(sessions: SessionFactory, event: Event) -> None:
    [delivery] = deliveries(sessions, {"expired": 1})

    assert verdicts(sessions, Report(delivery, event)) == [Verdict.ACCEPTED]

    assert row_of(sessions, delivery).status == DeliveryStatus.EXPIRED


def test_what_is_not_kept_is_unknown_and_spoils_no_other(sessions: SessionFactory) -> None:
    [known] = deliveries(sessions, {"sent": 1})
    unknown = DeliveryKey(known.planned_at, known.notification_id, uuid4())

    assert verdicts(sessions, displayed(unknown), displayed(known)) == [Verdict.UNKNOWN, Verdict.ACCEPTED]


def test_a_month_that_was_dropped_is_unknown(sessions: SessionFactory) -> None:
    [delivery] = deliveries(sessions, {"sent": 1}, planned_ago=timedelta(days=400))
    with transaction(sessions) as session:
        drop_month(session, delivery.planned_at)

    assert verdicts(sessions, displayed(delivery)) == [Verdict.UNKNOWN]


def test_what_retention_has_half_removed_is_delivered_without_its_batch(sessions: SessionFactory) -> None:
    [delivery] = deliveries(sessions, {"sent": 1})
    with transaction(sessions) as session:
        session.execute(delete(DeliveryBatch).where(DeliveryBatch.notification_id == delivery.notification_id))

    assert verdicts(sessions, displayed(delivery)) == [Verdict.ACCEPTED]
    assert row_of(sessions, delivery).status == DeliveryStatus.DELIVERED


def test_a_row_that_another_holds_is_busy_and_holds_up_no_other(sessions: SessionFactory) -> None:
    held, free = deliveries(sessions, {"sent": 2})
    with transaction(sessions) as session:
        of_held = select(DeliveryLog).where(DeliveryLog.subscription_id == held.subscription_id)
        session.scalars(of_held.with_for_update()).one()

        meanwhile = verdicts(sessions, displayed(held), Report(held, Event.CLICKED), displayed(free))

    assert meanwhile == [Verdict.BUSY, Verdict.BUSY, Verdict.ACCEPTED]
    assert receipts_of(sessions, held) == []
    assert verdicts(sessions, displayed(held)) == [Verdict.ACCEPTED]


def test_a_batch_that_is_just_being_closed_is_busy_and_its_counts_are_corrected_then(
    sessions: SessionFactory,
) -> None:
    """Its closer has counted the row as it was: a receipt must not slip in between."""
    delivery, _ = deliveries(sessions, {"sent": 2}, counted=False)
    with transaction(sessions) as session:
        close(session, delivery)

        meanwhile = verdicts(sessions, displayed(delivery), Report(delivery, Event.CLICKED))

    assert meanwhile == [Verdict.BUSY, Verdict.ACCEPTED]
    assert row_of(sessions, delivery).status == DeliveryStatus.SENT
    assert verdicts(sessions, displayed(delivery)) == [Verdict.ACCEPTED]
    batch = batch_of(sessions, delivery)
    assert (batch.sent_count, batch.delivered_count) == (1, 1)
    assert adds_up(sessions, delivery)


def test_who_closes_a_batch_counts_the_receipt_that_came_first(sessions: SessionFactory) -> None:
    """It is written, but not yet committed: the closer waits for it, and counts in a statement that sees it."""
    delivery, _ = deliveries(sessions, {"pending": 2})
    with transaction(sessions) as session:
        lease = lease_batch(session, row_of(sessions, delivery).batch_id)
        session.execute(
            update(DeliveryLog)
            .where(DeliveryLog.notification_id == delivery.notification_id)
            .values(status=DeliveryStatus.SENT)
        )
    assert lease is not None

    def close_it() -> None:
        with transaction(sessions) as session:
            assert closing.close_held(session, lease.batch_id, lease.lease_token, planned_at=lease.planned_at)
            finish_if_done(session, delivery.notification_id)

    closer = Thread(target=close_it)
    with transaction(sessions) as session:
        receipts.write(session, [displayed(delivery)])
        closer.start()
        until(lambda: is_somebody_waiting(sessions), "the closer waits for the batch")
    closer.join()

    batch = batch_of(sessions, delivery)
    assert (batch.sent_count, batch.delivered_count) == (1, 1)
    assert adds_up(sessions, delivery)


def test_a_receipt_that_is_written_waits_for_nobody_who_claims(sessions: SessionFactory) -> None:
    delivery, _ = deliveries(sessions, {"pending": 2})
    with transaction(sessions) as session:
        lease_batch(session, row_of(sessions, delivery).batch_id)

        assert verdicts(sessions, displayed(delivery)) == [Verdict.BUSY]

    assert verdicts(sessions, displayed(delivery)) == [Verdict.ACCEPTED]
    assert adds_up(sessions, delivery)


def test_who_cancels_meanwhile_lets_nothing_wait_for_its_next_try(sessions: SessionFactory) -> None:
    """Cancelling passes over the batch that is held for the receipt; who holds it sees to it."""
    delivery, _ = deliveries(sessions, {"pending": 2})
    batch = DeliveryBatch.notification_id == delivery.notification_id
    with transaction(sessions) as session:
        later = func.now() + timedelta(hours=1)
        session.execute(update(DeliveryBatch).where(batch).values(not_before=later, claimed_at=func.now()))

    reporter = Thread(target=lambda: record(sessions, [displayed(delivery)]))
    with transaction(sessions) as session:
        notification = session.get_one(Notification, delivery.notification_id, with_for_update=True)
        reporter.start()
        until(lambda: is_somebody_waiting(sessions), "the receipt waits for who cancels")
        cancel(session, notification)
    reporter.join()

    with transaction(sessions) as session:
        assert session.scalars(select(DeliveryBatch.not_before <= func.now()).where(batch)).one()
    assert row_of(sessions, delivery).status == DeliveryStatus.DELIVERED
    assert adds_up(sessions, delivery)


def test_no_receipt_comes_in_once_its_subscription_is_erased(sessions: SessionFactory) -> None:
    [delivery] = deliveries(sessions, {"sent": 1})
    with transaction(sessions) as session:
        unlink(session, [delivery.subscription_id])

        while_it_is_erased = verdicts(sessions, displayed(delivery))

    assert while_it_is_erased == [Verdict.BUSY]
    assert verdicts(sessions, displayed(delivery)) == [Verdict.UNKNOWN]
    assert receipts_of(sessions, delivery) == []


def test_a_receipt_that_came_before_is_erased_with_the_rest(sessions: SessionFactory) -> None:
    """It is written, but not yet committed: whoever erases waits, and finds it."""
    [delivery] = deliveries(sessions, {"sent": 1})
    erased = []

    def erase() -> None:
        with transaction(sessions) as session:
            unlink(session, [delivery.subscription_id])
        with transaction(sessions) as session:
            erased.append(forget_receipts(session, [delivery.subscription_id]))

    eraser = Thread(target=erase)
    with transaction(sessions) as session:
        receipts.write(session, [displayed(delivery)])
        eraser.start()
        until(lambda: is_somebody_waiting(sessions), "the eraser waits for the row")
    eraser.join()

    assert erased == [1]
    assert receipts_of(sessions, delivery) == []
    assert adds_up(sessions, delivery)


def test_two_who_report_the_same_at_once_count_once(sessions: SessionFactory) -> None:
    [delivery] = deliveries(sessions, {"sent": 1})
    with transaction(sessions) as session:
        [first] = receipts.write(session, [displayed(delivery)])
        [meanwhile] = record(sessions, [displayed(delivery)])

    assert (first.verdict, meanwhile.verdict) == (Verdict.ACCEPTED, Verdict.BUSY)
    assert verdicts(sessions, displayed(delivery)) == [Verdict.REPEATED]
    assert adds_up(sessions, delivery)


def test_what_met_in_a_deadlock_is_tried_again(sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    [delivery] = deliveries(sessions, {"sent": 1})
    write, deadlocks = (
        receipts.write,
        [OperationalError("", {}, _Deadlock()), OperationalError("", {}, _Deadlock())],
    )

    def write_at_last(session: Session, reports: Sequence[Report]) -> list[Written]:
        if deadlocks:
            raise deadlocks.pop()
        return write(session, reports)

    monkeypatch.setattr(receipts, "write", write_at_last)

    assert verdicts(sessions, displayed(delivery)) == [Verdict.ACCEPTED]


class _Deadlock(Exception):
    pgcode = "40P01"


def close(session: Session, delivery: DeliveryKey) -> None:
    batch_ids = batch_ids_of(session, delivery.notification_id)
    session.execute(select(DeliveryBatch).where(DeliveryBatch.id.in_(batch_ids)).with_for_update())
    closing.close_all(session, batch_ids, planned_at=delivery.planned_at)
