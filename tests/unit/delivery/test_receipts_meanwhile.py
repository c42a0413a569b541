"""Whoever else works on the ledger while receipts are written: it adds up, and nobody who hangs holds them up."""

from collections.abc import Collection
from datetime import timedelta
from threading import Event as Signal
from threading import Thread

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.db.session import SessionFactory, transaction
from app.delivery import closing, receipts
from app.delivery.cancel import cancel
from app.delivery.erasing import unlink
from app.delivery.finish import finish_if_done
from app.delivery.lease import lease_batch
from app.delivery.report import Event, Report, Verdict
from app.delivery.token import DeliveryKey
from app.models import DeliveryBatch, DeliveryLog, DeliveryStatus, Notification
from app.receipts.service import record
from app.users.repository import forget_receipts
from tests.support.delivery import is_somebody_waiting
from tests.support.receipts import (
    adds_up,
    batch_ids_of,
    batch_of,
    deliveries,
    displayed,
    receipts_of,
    row_of,
    verdicts,
)
from tests.support.waiting import until


@pytest.fixture
def sessions(module_sessions: SessionFactory) -> SessionFactory:
    return module_sessions


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


def test_what_somebody_hangs_cancelling_is_busy_and_holds_up_no_other(sessions: SessionFactory) -> None:
    [cancelled], [other] = deliveries(sessions, {"sent": 1}), deliveries(sessions, {"sent": 1})
    with transaction(sessions) as session:
        session.get_one(Notification, cancelled.notification_id, with_for_update=True)

        meanwhile = verdicts(sessions, displayed(cancelled), Report(cancelled, Event.CLICKED), displayed(other))

    assert meanwhile == [Verdict.BUSY, Verdict.BUSY, Verdict.ACCEPTED]
    assert verdicts(sessions, displayed(cancelled)) == [Verdict.ACCEPTED]


def test_who_cancels_meanwhile_lets_nothing_wait_for_its_next_try(
    sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelling passes over the batch that is held for the receipt; who holds it sees to it."""
    delivery, _ = deliveries(sessions, {"pending": 2})
    batch = DeliveryBatch.notification_id == delivery.notification_id
    with transaction(sessions) as session:
        later = func.now() + timedelta(hours=1)
        session.execute(update(DeliveryBatch).where(batch).values(not_before=later, claimed_at=func.now()))

    hold_batches, batches_are_held, is_being_cancelled = receipts._hold_batches, Signal(), Signal()

    def hold_them_until_somebody_cancels(session: Session, batch_ids: Collection[str]) -> receipts._Batches:
        held = hold_batches(session, batch_ids)
        batches_are_held.set()
        is_being_cancelled.wait()
        return held

    monkeypatch.setattr(receipts, "_hold_batches", hold_them_until_somebody_cancels)
    reporter = Thread(target=lambda: record(sessions, [displayed(delivery)]))
    reporter.start()
    batches_are_held.wait()
    with transaction(sessions) as session:
        notification = session.get_one(Notification, delivery.notification_id, with_for_update=True)
        is_being_cancelled.set()
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


def close(session: Session, delivery: DeliveryKey) -> None:
    batch_ids = batch_ids_of(session, delivery.notification_id)
    session.execute(select(DeliveryBatch).where(DeliveryBatch.id.in_(batch_ids)).with_for_update())
    closing.close_all(session, batch_ids, planned_at=delivery.planned_at)
