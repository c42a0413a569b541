"""A request waits as long as it may, no longer, and is never told of an error once its notification is accepted."""

import threading
from dataclasses import replace

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import OperationalError

from app.db.session import database_now, transaction
from app.delivery import plan
from app.delivery.inline import InlineLimits, run_inline
from app.models import DeliveryBatch, Notification
from tests.support.delivery import NOTHING_INLINE, claim_batch, finish_with_a_worker, ledger_adds_up, received, send
from tests.support.senders import WAIT_SECONDS, HangingSender, ScriptedSender
from tests.support.waiting import until

# Long enough to plan a handful on a busy machine: what is tested begins when the time is up.
SHORT = InlineLimits(max_recipients=1000, timeout_seconds=5)


def let_everything_be_due(pipeline):
    with transaction(pipeline.sessions) as session:
        session.execute(update(Notification).values(plan_after=text("now()")))
        session.execute(update(DeliveryBatch).values(not_before=text("now()")))


def test_a_push_service_that_does_not_answer_holds_up_no_request_and_its_answer_is_still_recorded(
    pipeline, subscribe
):
    [subscriber] = subscribe()
    sender = HangingSender()

    sent = send(replace(pipeline, sender=sender), limits=SHORT)
    assert (sent.is_complete, sent.counts) == (False, {"pending": 1})

    sender.answer.set()
    until(lambda: subscriber.log.status == "sent")


def test_an_audience_that_takes_too_long_to_plan_is_left_to_the_worker(pipeline, subscribe, monkeypatch):
    monkeypatch.setattr(plan, "PAGE_SIZE", 2)
    subscribers = subscribe(5)

    sent = send(pipeline, limits=InlineLimits(max_recipients=1000, timeout_seconds=0))
    let_everything_be_due(pipeline)
    finish_with_a_worker(pipeline)

    assert not sent.is_complete
    assert received(subscribers) == [1] * 5


@pytest.mark.parametrize(
    "error", [OperationalError("SELECT", {}, Exception("away")), RuntimeError("a mistake of ours")]
)
def test_an_error_after_accepting_is_a_202_and_the_worker_finishes(pipeline, subscribe, monkeypatch, error):
    [subscriber] = subscribe()
    with monkeypatch.context() as patch:
        patch.setattr(plan, "plan_page", lambda *args, **options: raise_(error))
        sent = send(pipeline)

    let_everything_be_due(pipeline)
    finish_with_a_worker(pipeline)

    assert not sent.is_complete
    assert len(subscriber.browser.received) == 1


def raise_(error):
    raise error


def assert_(condition):
    assert condition


def test_a_sender_that_breaks_down_loses_no_outcome_and_nobody(pipeline, subscribe):
    subscribers = subscribe(5)
    sender = ScriptedSender(before=lambda number: raise_(RuntimeError("broke down")) if number == 3 else None)

    sent = send(replace(pipeline, sender=sender))

    assert (sent.is_complete, sent.counts) == (False, {"sent": 3, "pending": 2})
    let_everything_be_due(pipeline)
    finish_with_a_worker(pipeline)
    assert sorted(received(subscribers)) == [0, 0, 0, 1, 1], (
        "the first three had it from the sender that broke down"
    )


def test_what_a_worker_planned_meanwhile_is_not_called_complete(pipeline, subscribe):
    subscribe()
    sent = send(pipeline, limits=NOTHING_INLINE)
    with transaction(pipeline.sessions) as session:
        [batch_id] = plan.plan_page(session, sent.notification.id).batch_ids
        claim_batch(session, batch_id)

    assert not run_inline(pipeline, sent.notification.id, SHORT)


def test_batches_that_a_request_had_no_time_for_are_due_at_once(pipeline, subscribe, monkeypatch):
    monkeypatch.setattr(plan, "BATCH_SIZE", 1)
    subscribe(3)
    time_is_up = threading.Event()
    sender = ScriptedSender(before=lambda number: assert_(time_is_up.wait(WAIT_SECONDS)))

    sent = send(replace(pipeline, sender=sender), limits=SHORT)
    time_is_up.set()

    until(lambda: waiting_batches(pipeline) == [True, True])
    assert ledger_adds_up(pipeline.sessions, sent)


def waiting_batches(pipeline):
    """Whether each batch that nobody began is due."""
    with transaction(pipeline.sessions) as session:
        now = database_now(session)
        return [
            not_before <= now
            for not_before in session.scalars(
                select(DeliveryBatch.not_before).where(DeliveryBatch.state == "ready")
            )
        ]
