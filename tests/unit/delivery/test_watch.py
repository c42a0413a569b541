"""What a lane's answers set off while a batch of it runs: a pause for all, a line in the log, an end to it."""

from dataclasses import replace

import pytest
from sqlalchemy import select, text
from structlog.testing import capture_logs

from app.db.session import transaction
from app.delivery import plan
from app.delivery.inline import InlineLimits
from app.delivery.run import run_batch
from app.delivery.traffic import Traffic
from app.models import DeliveryBatch, ServiceState
from app.observability import metrics
from app.push.outcome import Outcome, Reason, Verdict
from tests.support.delivery import NOTHING_INLINE, finish_with_a_worker, received, send
from tests.support.metric_samples import Samples
from tests.support.senders import ACCEPTED, GONE, ScriptedSender

THROTTLED = Outcome(Verdict.RETRY, Reason.RATE_LIMITED, 429, retry_after_seconds=600)
TIMEOUT = Outcome(Verdict.RETRY, Reason.TIMEOUT)


@pytest.fixture
def batch_ids(pipeline, subscribe, monkeypatch):
    """The batches of a notification to twenty, ten in each."""
    monkeypatch.setattr(plan, "BATCH_SIZE", 10)
    subscribe(20)
    sent = send(pipeline, limits=NOTHING_INLINE)
    with transaction(pipeline.sessions) as session:
        return plan.plan_page(session, sent.notification.id).batch_ids


def run_all(pipeline, batch_ids, outcomes):
    """Run the batches with these answers, and return what was logged about push services."""
    process = replace(pipeline, sender=ScriptedSender(outcomes), traffic=Traffic())
    with capture_logs() as logs:
        for batch_id in batch_ids:
            run_batch(process, batch_id)
    return [line for line in logs if line["event"].startswith("push service")]


def states(pipeline):
    with transaction(pipeline.sessions) as session:
        return [(state.reason, state.strikes) for state in session.scalars(select(ServiceState))]


def let_the_pause_end(pipeline):
    with transaction(pipeline.sessions) as session:
        session.execute(text("UPDATE push_service_states SET paused_until = now() - interval '1 second'"))


def pauses_counted():
    return Samples(metrics.render()[0].decode()).value("push_service_pauses_total", reason="throttled") or 0


def test_a_pause_and_its_end_are_said_with_the_host_and_nothing_secret(pipeline, subscribe, batch_ids):
    first, second = batch_ids
    paused = run_all(pipeline, [first], [THROTTLED] * 10)
    let_the_pause_end(pipeline)
    ended = run_all(pipeline, [second], [])

    with transaction(pipeline.sessions) as session:
        host = session.get_one(DeliveryBatch, first).endpoint_host
    line = {"event": "push service paused", "service_host": host, "reason": "throttled", "seconds": 600.0}
    assert paused == [{**line, "log_level": "warning"}]
    assert ended == [{"event": "push service answers again", "service_host": host, "log_level": "info"}]


def test_a_lane_that_is_well_has_no_state(pipeline, batch_ids):
    assert run_all(pipeline, batch_ids, [GONE] * 6 + [TIMEOUT] * 2) == []

    assert states(pipeline) == []


def test_one_batch_of_a_paused_lane_is_not_begun(pipeline, batch_ids):
    [line] = run_all(pipeline, batch_ids, [TIMEOUT] * 20)

    assert line["reason"] == "troubled"
    assert 2.5 <= line["seconds"] <= 5
    assert states(pipeline) == [("troubled", 1)]


def test_small_batches_add_up_until_something_is_accepted(pipeline, subscribe, monkeypatch):
    monkeypatch.setattr(plan, "BATCH_SIZE", 1)
    subscribe(12)
    sent = send(pipeline, limits=NOTHING_INLINE)
    with transaction(pipeline.sessions) as session:
        batch_ids = plan.plan_page(session, sent.notification.id).batch_ids

    before = run_all(pipeline, batch_ids[:5], [TIMEOUT] * 4 + [ACCEPTED])
    after = run_all(pipeline, batch_ids[5:], [ACCEPTED] + [TIMEOUT] * 20)

    assert before == []
    assert [line["reason"] for line in after] == ["troubled"]


@pytest.mark.parametrize(("people", "pauses"), [(1, 0), (5, 1)])
def test_what_a_push_service_limits_for_one_subscription_pauses_nobody(pipeline, subscribe, people, pauses):
    subscribe(5)
    subscribers = subscribe(people, topics=["one"])
    process = replace(pipeline, sender=ScriptedSender([THROTTLED] * 20), traffic=Traffic())
    with capture_logs() as logs:
        for _ in range(10):
            for subscriber in subscribers:
                sent = send(process, limits=NOTHING_INLINE, subscription_ids=[subscriber.id])
                with transaction(pipeline.sessions) as session:
                    [batch_id] = plan.plan_page(session, sent.notification.id).batch_ids
                run_batch(process, batch_id)

    assert [line["event"] for line in logs].count("push service paused") == pauses


def test_pauses_are_counted(pipeline, batch_ids):
    before = pauses_counted()

    run_all(pipeline, batch_ids, [THROTTLED] * 20)

    assert pauses_counted() == before + 1


def test_a_request_to_a_paused_push_service_is_left_to_the_workers_who_send_it_in_time(
    pipeline, subscribe, batch_ids
):
    run_all(pipeline, batch_ids[:1], [THROTTLED] * 10)
    [newcomer] = subscribe(1, topics=["news"])

    sent = send(pipeline, topics=["news"], limits=InlineLimits(max_recipients=10, timeout_seconds=3600))
    finish_with_a_worker(pipeline)
    meanwhile = received([newcomer])
    let_the_pause_end(pipeline)
    finish_with_a_worker(pipeline)

    assert (sent.is_complete, sent.counts, meanwhile) == (False, {"pending": 1}, [0])
    assert received([newcomer]) == [1], "it does not wait for as long as it would for its request"


def test_a_retry_keeps_its_place_in_the_lane(pipeline, batch_ids):
    run_all(pipeline, batch_ids[1:], [TIMEOUT] * 4)

    with transaction(pipeline.sessions) as session:
        places = session.execute(select(DeliveryBatch.attempt, DeliveryBatch.position)).all()
    assert sorted(map(tuple, places)) == [(1, 0), (1, 1), (2, 1)]
