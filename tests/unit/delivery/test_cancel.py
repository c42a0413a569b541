"""Cancelling is one mark; who plans, claims, renews, retries or finishes meanwhile, or later, heeds it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import event, func, insert, select, update

from app.db.session import database_now, transaction
from app.delivery import cancel, claim, drain, plan, record
from app.delivery.run import run_batch
from app.models import DeliveryBatch, DeliveryLog, Notification, ServiceState
from tests.support.delivery import (
    NOTHING_INLINE,
    claim_batch,
    finish_with_a_worker,
    is_somebody_waiting,
    received,
    send,
)
from tests.support.senders import ACCEPTED, UNAVAILABLE, ScriptedSender
from tests.support.waiting import until


@pytest.fixture
def notification_id(pipeline, subscribe, monkeypatch):
    """A notification to four, planned; each two of them are a batch."""
    monkeypatch.setattr(plan, "BATCH_SIZE", 2)
    subscribe(4)
    notification_id = send(pipeline, limits=NOTHING_INLINE).notification.id
    with transaction(pipeline.sessions) as session:
        plan.plan_page(session, notification_id)
    return notification_id


def cancel_it(sessions, notification_id):
    with transaction(sessions) as session:
        row = session.get_one(Notification, notification_id, with_for_update=True)
        cancel.cancel(session, row)


def batch_ids(sessions, notification_id):
    with transaction(sessions) as session:
        query = select(DeliveryBatch.id).where(DeliveryBatch.notification_id == notification_id)
        return list(session.scalars(query.order_by(DeliveryBatch.id)))


def take(sessions, batch_id):
    with transaction(sessions) as session:
        return claim_batch(session, batch_id)


def row_of(sessions, notification_id):
    with transaction(sessions) as session:
        return session.get_one(Notification, notification_id)


def outcomes(sessions, notification_id):
    """How many deliveries have each status and reason."""
    with transaction(sessions) as session:
        query = select(DeliveryLog.status, DeliveryLog.reason, func.count()).where(
            DeliveryLog.notification_id == notification_id
        )
        found = session.execute(query.group_by(DeliveryLog.status, DeliveryLog.reason))
        return {(status, reason): count for status, reason, count in found}


def open_batches_are_due(sessions):
    with transaction(sessions) as session:
        now = database_now(session)
        query = select(DeliveryBatch.not_before).where(DeliveryBatch.state != "closed")
        return [not_before <= now for not_before in session.scalars(query)]


def test_everybody_pending_is_settled_by_the_workers_and_nobody_gets_it(pipeline, notification_id):
    cancel_it(pipeline.sessions, notification_id)
    marked = row_of(pipeline.sessions, notification_id)

    sender = ScriptedSender()
    finish_with_a_worker(replace(pipeline, sender=sender))

    assert (marked.state, marked.targeted, marked.finished_at) == ("cancelled", 4, None)
    assert sender.posted == []
    assert outcomes(pipeline.sessions, notification_id) == {("failed", "cancelled"): 4}
    finished = row_of(pipeline.sessions, notification_id)
    assert (finished.state, finished.targeted) == ("cancelled", 4)
    assert finished.finished_at is not None


def test_who_claims_one_batch_of_it_settles_the_others_too_in_few_statements(pipeline, notification_id):
    cancel_it(pipeline.sessions, notification_id)
    statements: list[str] = []
    first, _ = batch_ids(pipeline.sessions, notification_id)

    with transaction(pipeline.sessions) as session:
        event.listen(session.connection(), "before_cursor_execute", lambda *args: statements.append(args[2]))
        work = claim_batch(session, first)

    assert work is None
    assert outcomes(pipeline.sessions, notification_id) == {("failed", "cancelled"): 4}
    assert row_of(pipeline.sessions, notification_id).finished_at is not None
    assert len(statements) <= 7


def test_a_batch_that_somebody_holds_is_left_to_him(pipeline, notification_id):
    first, _ = batch_ids(pipeline.sessions, notification_id)
    work = take(pipeline.sessions, first)
    cancel_it(pipeline.sessions, notification_id)

    finish_with_a_worker(pipeline)

    assert outcomes(pipeline.sessions, notification_id) == {("failed", "cancelled"): 2, ("pending", None): 2}
    with transaction(pipeline.sessions) as session:
        assert not claim.renew(session, work), "nothing further may be begun"
        record.write(session, work, [(recipient, ACCEPTED) for recipient in work.recipients])
        claim.close(session, work)
    assert outcomes(pipeline.sessions, notification_id) == {("failed", "cancelled"): 2, ("sent", None): 2}
    assert row_of(pipeline.sessions, notification_id).finished_at is not None


def test_a_batch_given_back_is_settled(pipeline, notification_id):
    first, _ = batch_ids(pipeline.sessions, notification_id)
    work = take(pipeline.sessions, first)
    cancel_it(pipeline.sessions, notification_id)

    with transaction(pipeline.sessions) as session:
        claim.close(session, work, give_back=True)
    finish_with_a_worker(pipeline)

    assert outcomes(pipeline.sessions, notification_id) == {("failed", "cancelled"): 4}


def test_a_sender_in_the_middle_of_a_batch_begins_nothing_further(pipeline, subscribe, monkeypatch):
    monkeypatch.setattr("app.delivery.run.WRITE_EVERY_ROWS", 2)
    monkeypatch.setattr("app.delivery.run.WRITE_EVERY_SECONDS", 3600)
    subscribe(6)
    sent = send(pipeline, limits=NOTHING_INLINE)
    with transaction(pipeline.sessions) as session:
        [batch_id] = plan.plan_page(session, sent.notification.id).batch_ids
    sender = ScriptedSender(
        before=lambda number: cancel_it(pipeline.sessions, sent.notification.id) if number == 1 else None
    )

    run_batch(replace(pipeline, sender=sender), batch_id)
    finish_with_a_worker(pipeline)

    assert outcomes(pipeline.sessions, sent.notification.id) == {("sent", None): 2, ("failed", "cancelled"): 4}


def test_retries_that_wait_are_settled_now(pipeline, push_service, subscribe):
    [subscriber] = subscribe()
    push_service.answers(503, retry_after=600)
    sent = send(pipeline)
    assert open_batches_are_due(pipeline.sessions) == [False]

    cancel_it(pipeline.sessions, sent.notification.id)
    finish_with_a_worker(pipeline)

    log = subscriber.log
    assert (log.status, log.reason, log.attempts, log.response_code) == ("failed", "cancelled", 1, 503)
    assert row_of(pipeline.sessions, sent.notification.id).finished_at is not None


def test_a_retry_planned_while_it_is_cancelled_does_not_wait_for_its_time(pipeline, notification_id):
    first, _ = batch_ids(pipeline.sessions, notification_id)
    work = take(pipeline.sessions, first)
    busy = replace(UNAVAILABLE, retry_after_seconds=600)

    with ThreadPoolExecutor(1) as thread, transaction(pipeline.sessions) as session:
        record.write(session, work, [(recipient, busy) for recipient in work.recipients])
        cancelling = thread.submit(cancel_it, pipeline.sessions, notification_id)
        until(lambda: is_somebody_waiting(pipeline.sessions))
        claim.close(session, work)
        session.commit()
        cancelling.result()

    assert open_batches_are_due(pipeline.sessions) == [True, True]


def test_a_retry_planned_after_it_was_cancelled_does_not_wait_for_its_time(pipeline, notification_id):
    first, _ = batch_ids(pipeline.sessions, notification_id)
    work = take(pipeline.sessions, first)
    busy = replace(UNAVAILABLE, retry_after_seconds=600)
    cancel_it(pipeline.sessions, notification_id)

    with transaction(pipeline.sessions) as session:
        record.write(session, work, [(recipient, busy) for recipient in work.recipients])
        claim.close(session, work)

    assert open_batches_are_due(pipeline.sessions) == [True, True]


def test_nor_does_one_planned_by_a_worker_that_had_lost_its_lease(pipeline, notification_id):
    first, _ = batch_ids(pipeline.sessions, notification_id)
    work = take(pipeline.sessions, first)
    cancel_it(pipeline.sessions, notification_id)

    with transaction(pipeline.sessions) as session:
        stale = replace(work, lease_token=uuid4())
        record.write(
            session, stale, [(each, replace(UNAVAILABLE, retry_after_seconds=600)) for each in work.recipients]
        )
        assert not claim.renew(session, stale)

    assert open_batches_are_due(pipeline.sessions) == [True, True, True]


def test_a_batch_that_could_not_be_run_waits_no_longer_than_a_moment_once_cancelled(pipeline, notification_id):
    first, second = batch_ids(pipeline.sessions, notification_id)
    with transaction(pipeline.sessions) as session:
        session.execute(update(DeliveryBatch).values(created_at=func.now() - timedelta(hours=1)))
        claim.put_off(session, first, lease_token=None)

    cancel_it(pipeline.sessions, notification_id)
    assert open_batches_are_due(pipeline.sessions) == [True, True]

    with transaction(pipeline.sessions) as session:
        claim.put_off(session, second, lease_token=None)
        waits = session.get_one(DeliveryBatch, second).not_before - database_now(session)
    assert timedelta(0) < waits <= timedelta(seconds=10)


def test_planning_ends_with_the_page_under_way(pipeline, subscribe, monkeypatch):
    monkeypatch.setattr(plan, "PAGE_SIZE", 2)
    subscribers = subscribe(5)
    sent = send(pipeline, limits=NOTHING_INLINE)

    with ThreadPoolExecutor(1) as thread, transaction(pipeline.sessions) as session:
        plan.plan_page(session, sent.notification.id)
        cancelling = thread.submit(cancel_it, pipeline.sessions, sent.notification.id)
        until(lambda: is_somebody_waiting(pipeline.sessions))
        session.commit()
        cancelling.result()
    with transaction(pipeline.sessions) as session:
        after = plan.plan_page(session, sent.notification.id)
    finish_with_a_worker(pipeline)

    assert (after.batch_ids, after.is_last) == ([], True)
    assert received(subscribers) == [0] * 5
    row = row_of(pipeline.sessions, sent.notification.id)
    assert (row.state, row.targeted, row.planned_count) == ("cancelled", 2, 2)
    assert outcomes(pipeline.sessions, row.id) == {("failed", "cancelled"): 2}


def test_with_nobody_planned_it_is_finished_at_once(pipeline, subscribe):
    subscribe()
    sent = send(pipeline, limits=NOTHING_INLINE)

    cancel_it(pipeline.sessions, sent.notification.id)

    row = row_of(pipeline.sessions, sent.notification.id)
    assert (row.state, row.targeted) == ("cancelled", 0)
    assert row.finished_at is not None


@pytest.mark.parametrize("waits", ["paused", "paced", "drained"])
def test_where_nobody_claims_for_now_it_is_settled_all_the_same(pipeline, notification_id, waits):
    [batch_id, _] = batch_ids(pipeline.sessions, notification_id)
    with transaction(pipeline.sessions) as session:
        batch = session.get_one(DeliveryBatch, batch_id)
        if waits == "drained":
            drain.begin(session)
        else:
            column = {"paused": ServiceState.paused_until, "paced": ServiceState.next_slot_at}[waits]
            lane = (ServiceState.tenant_id, ServiceState.endpoint_host, ServiceState.vapid_key_id)
            values = (batch.tenant_id, batch.endpoint_host, batch.vapid_key_id)
            until_later = func.now() + timedelta(hours=1)
            session.execute(
                insert(ServiceState).values({**dict(zip(lane, values, strict=True)), column: until_later})
            )

    cancel_it(pipeline.sessions, notification_id)
    finish_with_a_worker(pipeline)

    assert outcomes(pipeline.sessions, notification_id) == {("failed", "cancelled"): 4}
    assert row_of(pipeline.sessions, notification_id).finished_at is not None
