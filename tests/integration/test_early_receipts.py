"""A receipt overtakes the worker that sends: the browser was faster than its push service's answer."""

import pytest

from app.db.session import SessionFactory, transaction
from app.delivery import claim, plan, record
from app.delivery.claim import Work
from app.delivery.report import Event, Report, Verdict
from app.delivery.token import DeliveryKey
from app.models import BatchState, DeliveryBatch, DeliveryStatus, Notification
from app.push.outcome import Outcome, Reason
from app.push.outcome import Verdict as PushVerdict
from app.receipts import service
from tests.support.delivery import NOTHING_INLINE, claim_batch, finish_with_a_worker, received, send
from tests.support.ledger import adds_up
from tests.support.receipts import batch_ids_of
from tests.support.senders import ACCEPTED, GONE

LATER = Outcome(PushVerdict.RETRY, Reason.PUSH_SERVICE_ERROR, 503, retry_after_seconds=60)


def _report(sessions: SessionFactory, notification: Notification, subscriber) -> Verdict:
    delivery = DeliveryKey(notification.accepted_at, notification.id, subscriber.id)
    [written] = service.record(sessions, [Report(delivery, Event.DISPLAYED)])
    return written.verdict


@pytest.mark.parametrize("outcome", [ACCEPTED, GONE, LATER], ids=["accepted", "gone", "to be tried again"])
def test_what_the_worker_hears_later_changes_nothing(pipeline, sessions, subscribe, outcome: Outcome) -> None:
    early, _ = subscribe(2)
    notification = send(pipeline, limits=NOTHING_INLINE).notification
    with transaction(sessions) as session:
        (batch_id,) = plan.plan_page(session, notification.id).batch_ids
        work = claim_batch(session, batch_id)
    assert isinstance(work, Work)

    assert _report(sessions, notification, early) is Verdict.ACCEPTED
    in_between = adds_up(sessions)
    with transaction(sessions) as session:
        record.write(session, work, [(recipient, outcome) for recipient in work.recipients])
        claim.close(session, work)

    assert in_between
    assert early.log.status == DeliveryStatus.DELIVERED
    assert early.log.reason is None
    assert adds_up(sessions)


def test_who_waits_for_the_next_try_is_not_tried_again(pipeline, sessions, subscribe) -> None:
    """The push service had it, and its answer was lost: the browser knows better."""
    shown, waiting = subscribe(2)
    notification = send(pipeline, limits=NOTHING_INLINE).notification
    with transaction(sessions) as session:
        (batch_id,) = plan.plan_page(session, notification.id).batch_ids
        work = claim_batch(session, batch_id)
        assert work is not None
        record.write(session, work, [(recipient, LATER) for recipient in work.recipients])
        claim.close(session, work)

    assert _report(sessions, notification, shown) is Verdict.ACCEPTED

    assert adds_up(sessions)
    with transaction(sessions) as session:
        batches = [session.get_one(DeliveryBatch, each) for each in batch_ids_of(session, notification.id)]
        claim.release(session, [batch.id for batch in batches])
    assert {batch.state: batch.claimed_at is not None for batch in batches} == {
        BatchState.CLOSED: True,
        BatchState.READY: True,
    }
    finish_with_a_worker(pipeline)
    assert received([shown, waiting]) == [0, 1]
    assert (shown.log.status, waiting.log.status) == (DeliveryStatus.DELIVERED, DeliveryStatus.SENT)
    assert adds_up(sessions)
