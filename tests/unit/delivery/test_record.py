import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, func, select

from app.db.session import engine_of, transaction
from app.delivery import claim, plan, record
from app.delivery.claim import Work
from app.models import BatchState, DeliveryBatch
from app.push.outcome import Outcome, Reason, Verdict
from tests.support.delivery import NOTHING_INLINE, claim_batch, send

ACCEPTED = Outcome(Verdict.ACCEPTED, Reason.ACCEPTED, 201)
BUSY = Outcome(Verdict.RETRY, Reason.PUSH_SERVICE_ERROR, 503)
REJECTED = Outcome(Verdict.REJECTED, Reason.BAD_REQUEST, 400)


def claimed(pipeline) -> Work:
    """A claimed batch of a new notification to everybody."""
    sent = send(pipeline, limits=NOTHING_INLINE)
    with transaction(pipeline.sessions) as session:
        [batch_id] = plan.plan_page(session, sent.notification.id).batch_ids
        work = claim_batch(session, batch_id)
    assert work is not None
    return work


def test_two_notifications_that_end_the_other_way_round_do_not_lock_each_other_out(pipeline, subscribe):
    subscribers = subscribe(2)
    both_began = threading.Barrier(2)

    @event.listens_for(engine_of(pipeline.sessions), "after_cursor_execute")
    def wait_for_the_other(connection, cursor, statement, *rest):
        if statement.startswith("UPDATE push_subscriptions"):
            with contextlib.suppress(threading.BrokenBarrierError):  # the other waits for our rows
                both_began.wait(timeout=0.5)

    def write(outcomes):
        work = claimed(pipeline)
        with transaction(pipeline.sessions) as session:
            return record.write(session, work, list(zip(work.recipients, outcomes, strict=True)))

    with ThreadPoolExecutor(2) as threads:
        reports = list(threads.map(write, [(ACCEPTED, REJECTED), (REJECTED, ACCEPTED)]))

    assert [report.counts for report in reports] == [{"sent": 1, "failed": 1}] * 2
    assert all(subscriber.row.last_used is not None for subscriber in subscribers)


@pytest.mark.parametrize(("tried_again", "open_batches"), [(0, 0), (1, 1)])
def test_who_was_settled_by_another_worker_leaves_no_batch_behind(pipeline, subscribe, tried_again, open_batches):
    subscribe(2)
    work = claimed(pipeline)
    settled = work.recipients[tried_again:]
    with transaction(pipeline.sessions) as session:
        record.write(session, work, [(recipient, ACCEPTED) for recipient in settled])
        claim.close(session, work)

    with transaction(pipeline.sessions) as session:
        report = record.write(session, work, [(recipient, BUSY) for recipient in work.recipients])

    with transaction(pipeline.sessions) as session:
        still_open = session.scalar(select(func.count()).where(DeliveryBatch.state != BatchState.CLOSED))
    assert still_open == open_batches
    assert report.counts.total() == tried_again
