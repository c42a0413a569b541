"""How a notification is worked off: by a request and by workers, interrupted, late, and tried again."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text, update

from app.db.session import transaction
from app.delivery import claim, plan
from app.delivery.inline import InlineLimits
from app.delivery.lanes import open_lanes
from app.delivery.run import run_batch
from app.models import DEFAULT_TENANT_ID, DeliveryBatch, DeliveryLog, Notification
from app.push.keys import VapidKey
from app.push.message import topic_for
from tests.support.delivery import (
    NOTHING_INLINE,
    change,
    claim_batch,
    finish_with_a_worker,
    received,
    send,
)


def only_batch(pipeline):
    with transaction(pipeline.sessions) as session:
        return session.scalars(select(DeliveryBatch)).one()


def test_a_large_audience_is_left_to_the_worker_which_finishes_it(pipeline, subscribe, monkeypatch):
    monkeypatch.setattr(plan, "PAGE_SIZE", 4)
    subscribers = subscribe(10)
    sent = send(pipeline, limits=NOTHING_INLINE)
    assert (sent.is_complete, sent.notification.state, sent.notification.targeted) == (False, "planning", None)

    finish_with_a_worker(pipeline)

    assert received(subscribers) == [1] * 10
    with transaction(pipeline.sessions) as session:
        finished = session.get_one(Notification, sent.notification.id)
    assert (finished.state, finished.targeted) == ("sent", 10)
    assert finished.finished_at is not None


def test_a_request_out_of_time_leaves_the_rest_to_the_worker(pipeline, push_service, subscribe):
    subscribers = subscribe(100)  # more than a sender begins before the first answer
    push_service.delays(0.2)

    sent = send(pipeline, limits=InlineLimits(max_recipients=1000, timeout_seconds=0.05))
    push_service.script.clear()
    pipeline.inline.shutdown()  # waits for what is in flight to be recorded, and the rest to be given back
    with transaction(pipeline.sessions) as session:
        session.execute(update(Notification).values(plan_after=func.now()))
    finish_with_a_worker(pipeline)

    assert not sent.is_complete
    assert received(subscribers) == [1] * 100


def test_workers_leave_a_request_its_own_batches_until_it_must_have_died(pipeline, subscribe):
    [subscriber] = subscribe()
    sent = send(pipeline, limits=NOTHING_INLINE)
    with transaction(pipeline.sessions) as session:
        plan.plan_page(session, sent.notification.id, hold_back=timedelta(seconds=60))
        not_yet = open_lanes(session)
        session.execute(text("UPDATE push_delivery_batches SET not_before = now() - interval '1 second'"))

    finish_with_a_worker(pipeline)

    assert not_yet == []
    assert received([subscriber]) == [1]


def test_two_workers_given_the_same_batch_send_it_once(pipeline, subscribe):
    [subscriber] = subscribe()
    sent = send(pipeline, limits=NOTHING_INLINE)
    with transaction(pipeline.sessions) as session:
        [batch_id] = plan.plan_page(session, sent.notification.id).batch_ids
    with transaction(pipeline.sessions) as session:
        held = claim_batch(session, batch_id)

    second = run_batch(pipeline, batch_id)

    assert held is not None
    assert not second.counts
    assert received([subscriber]) == [0]


def test_a_dead_workers_batch_is_taken_over_once_its_lease_has_run_out(pipeline, subscribe):
    [subscriber] = subscribe()
    sent = send(pipeline, limits=NOTHING_INLINE)
    with transaction(pipeline.sessions) as session:
        [batch_id] = plan.plan_page(session, sent.notification.id).batch_ids
        dead = claim_batch(session, batch_id)
        session.execute(text("UPDATE push_delivery_batches SET leased_until = now() - interval '1 second'"))

    finish_with_a_worker(pipeline)

    assert received([subscriber]) == [1]
    assert dead is not None
    with transaction(pipeline.sessions) as session:
        assert not claim.renew(session, dead)
        claim.close(session, dead, give_back=True)
    assert only_batch(pipeline).state == "closed"


@pytest.mark.parametrize(
    ("columns", "status", "reason"),
    [
        ({"deleted_at": datetime(2026, 1, 1, tzinfo=UTC)}, "failed", "unsubscribed"),
        ({"enabled": False}, "failed", "disabled"),
        ({"gone_at": datetime(2026, 1, 1, tzinfo=UTC)}, "expired", "gone"),
    ],
)
def test_who_leaves_between_planning_and_claiming_is_not_sent_to(pipeline, subscribe, columns, status, reason):
    stays, leaves = subscribe(2)
    sent = send(pipeline, limits=NOTHING_INLINE)
    with transaction(pipeline.sessions) as session:
        plan.plan_page(session, sent.notification.id)
    change(leaves, **columns)

    finish_with_a_worker(pipeline)

    assert received([stays, leaves]) == [1, 0]
    assert (leaves.log.status, leaves.log.reason) == (status, reason)


def test_a_message_past_its_deadline_expires_instead_of_coming_late(pipeline, subscribe):
    [subscriber] = subscribe()
    sent = send(pipeline, limits=NOTHING_INLINE)
    with transaction(pipeline.sessions) as session:
        plan.plan_page(session, sent.notification.id)
        session.execute(text("UPDATE push_delivery_logs SET deadline = now() - interval '1 second'"))

    finish_with_a_worker(pipeline)

    assert received([subscriber]) == [0]
    assert (subscriber.log.status, subscriber.log.reason) == ("expired", "deadline")


def test_a_retry_waits_as_asked_and_then_arrives_with_what_is_left_of_the_ttl(pipeline, push_service, subscribe):
    [subscriber] = subscribe()
    push_service.answers(503, retry_after=600, times=1)
    send(pipeline, ttl=3600)
    first_batch_id, retry = subscriber.log.batch_id, only_open_batch(pipeline)
    with transaction(pipeline.sessions) as session:
        waits = retry.not_before - session.scalars(select(func.now())).one()
        too_early = open_lanes(session)
        session.execute(text("UPDATE push_delivery_batches SET not_before = now()"))
        session.execute(text("UPDATE push_delivery_logs SET deadline = deadline - interval '1000 seconds'"))

    finish_with_a_worker(pipeline)

    assert first_batch_id == retry.id
    assert too_early == []
    assert timedelta(seconds=500) < waits <= timedelta(seconds=600)
    [message] = subscriber.browser.received
    assert 2500 < message.ttl <= 2600
    assert (subscriber.log.status, subscriber.log.attempts) == ("sent", 2)


def only_open_batch(pipeline):
    with transaction(pipeline.sessions) as session:
        return session.scalars(select(DeliveryBatch).where(DeliveryBatch.state != "closed")).one()


def test_an_answer_to_an_old_subscription_does_not_end_the_one_renewed_meanwhile(pipeline, push_service, subscribe):
    [subscriber] = subscribe()
    sent = send(pipeline, limits=NOTHING_INLINE)
    with transaction(pipeline.sessions) as session:
        [batch_id] = plan.plan_page(session, sent.notification.id).batch_ids
    subscriber.browser.unsubscribe()
    change(subscriber, updated_at=datetime.now(UTC) + timedelta(seconds=5))

    run_batch(pipeline, batch_id)

    assert subscriber.row.gone_at is None
    assert subscriber.log.status == "expired"


def test_who_turns_out_to_have_another_key_is_sent_to_with_that_one(pipeline, subscribe):
    [subscriber] = subscribe()
    right_key_id = subscriber.row.vapid_key_id
    with transaction(pipeline.sessions) as session:
        other_key_id = pipeline.keyring.add(session, DEFAULT_TENANT_ID, VapidKey.generate()).id
    change(subscriber, vapid_key_id=other_key_id)
    sent = send(pipeline, limits=NOTHING_INLINE)
    with transaction(pipeline.sessions) as session:
        plan.plan_page(session, sent.notification.id)
    change(subscriber, vapid_key_id=right_key_id)

    finish_with_a_worker(pipeline)

    assert received([subscriber]) == [1]
    assert subscriber.row.key_mismatch_at is None


def test_a_late_outcome_never_overwrites_a_final_row(pipeline, push_service, subscribe):
    [subscriber] = subscribe()
    sent = send(pipeline, limits=NOTHING_INLINE)
    with transaction(pipeline.sessions) as session:
        [batch_id] = plan.plan_page(session, sent.notification.id).batch_ids
        session.execute(update(DeliveryLog).values(status="delivered", delivered_at=func.now()))

    report = run_batch(pipeline, batch_id)

    assert not report.counts
    assert subscriber.log.status == "delivered"


def test_a_ttl_of_zero_is_sent_as_zero_now_or_never(pipeline, subscribe):
    [subscriber] = subscribe()

    send(pipeline, ttl=0)

    [message] = subscriber.browser.received
    assert message.ttl == 0


def test_headers_carry_ttl_urgency_and_topic(pipeline, subscribe):
    [subscriber] = subscribe()

    sent = send(pipeline, ttl=1200, urgency="high", collapse_key="score")

    [message] = subscriber.browser.received
    assert 1100 <= message.ttl <= 1200
    assert message.urgency == "high"
    assert message.topic == topic_for("score")
    assert sent.notification.urgency == "high"


def test_without_a_tag_the_notifications_id_makes_a_repeat_harmless(pipeline, subscribe):
    [subscriber] = subscribe()

    sent = send(pipeline)

    [message] = subscriber.browser.received
    assert message.json()["tag"] == str(sent.notification.id)
    assert message.topic == topic_for(str(sent.notification.id))
