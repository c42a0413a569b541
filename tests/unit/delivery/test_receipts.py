"""What browsers report is written once each; one that was displayed is delivered, whatever was known before."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import delete
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db.session import SessionFactory, transaction
from app.delivery import receipts
from app.delivery.partitions import drop_month
from app.delivery.report import Event, Report, Verdict, Written
from app.delivery.token import DeliveryKey
from app.models import DeliveryBatch, DeliveryStatus
from app.receipts.service import record
from tests.support.receipts import adds_up, batch_of, deliveries, displayed, receipts_of, row_of, verdicts


@pytest.fixture
def sessions(module_sessions: SessionFactory) -> SessionFactory:
    return module_sessions


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
