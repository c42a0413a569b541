import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import event

from app.db.session import transaction
from app.delivery import claim, plan, record
from app.delivery.claim import Work
from app.push.outcome import Outcome, Reason, Verdict
from tests.support.delivery import NOTHING_INLINE, send

ACCEPTED = Outcome(Verdict.ACCEPTED, Reason.ACCEPTED, 201)
REJECTED = Outcome(Verdict.REJECTED, Reason.BAD_REQUEST, 400)


def claimed(pipeline) -> Work:
    """A claimed batch of a new notification to everybody."""
    sent = send(pipeline, limits=NOTHING_INLINE)
    with transaction(pipeline.sessions) as session:
        [batch_id] = plan.plan_page(session, sent.notification.id).batch_ids
        work = claim.take(session, batch_id)
    assert work is not None
    return work


def test_two_notifications_that_end_the_other_way_round_do_not_lock_each_other_out(pipeline, subscribe):
    subscribers = subscribe(2)
    both_began = threading.Barrier(2)

    @event.listens_for(pipeline.sessions.kw["bind"], "after_cursor_execute")
    def wait_for_the_other(connection, cursor, statement, *rest):
        if statement.startswith("UPDATE push_subscriptions"):
            with contextlib.suppress(threading.BrokenBarrierError):
                both_began.wait(timeout=0.5)

    def write(outcomes):
        work = claimed(pipeline)
        with transaction(pipeline.sessions) as session:
            return record.write(session, work, list(zip(work.recipients, outcomes, strict=True)))

    with ThreadPoolExecutor(2) as threads:
        reports = list(threads.map(write, [(ACCEPTED, REJECTED), (REJECTED, ACCEPTED)]))

    assert [report.counts for report in reports] == [{"sent": 1, "failed": 1}] * 2
    assert all(subscriber.row.last_used is not None for subscriber in subscribers)
