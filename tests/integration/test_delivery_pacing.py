"""Push services that ask for less, hang, or are held to a rate: the others go on, and nobody is lost."""

import json
from dataclasses import replace

import pytest
from sqlalchemy import func, select, text

from app.db.session import transaction
from app.delivery import plan, run, service_states
from app.delivery.lanes import Lane
from app.delivery.pace import PROBE_MESSAGES, Pause, PauseReason
from app.delivery.run import run_batch
from app.delivery.traffic import Traffic
from app.models import DeliveryBatch, DeliveryLog, Drain, ServiceState
from app.push.outcome import Outcome, Reason, Verdict
from app.push.sender import Timeouts, never
from app.workers.loop import LONGEST_DUE_EVERY, DeliveryLoop
from tests.support.delivery import NOTHING_INLINE, finish_with_a_worker, received, send
from tests.support.senders import ScriptedSender
from tests.support.waiting import until

THROTTLED = Outcome(Verdict.RETRY, Reason.RATE_LIMITED, 429, retry_after_seconds=600)
TIMEOUT = Outcome(Verdict.RETRY, Reason.TIMEOUT)
ONE, ANOTHER, THIRD = "127.0.0.1", "127.0.0.2", "127.0.0.3"


class PacedSender(ScriptedSender):
    """Posts at once whatever the rate, and remembers what it was asked for."""

    def __init__(self, *args, **options):
        self.rates = []
        super().__init__(*args, **options)

    def send(self, messages, *, stop=never, rate_per_second=None):
        self.rates.append((len(messages), rate_per_second))
        return super().send(messages, stop=stop)


def with_sender(pipeline, sender, **options):
    """The same in a process of its own: it knows only what the database says."""
    return replace(pipeline, sender=sender, traffic=Traffic(), **options)


def planned(pipeline, **fields):
    """Send a notification and plan all of it; return its batches."""
    sent = send(pipeline, limits=NOTHING_INLINE, **fields)
    with transaction(pipeline.sessions) as session:
        return plan.plan_page(session, sent.notification.id).batch_ids


def lane_of(pipeline, batch_id):
    with transaction(pipeline.sessions) as session:
        batch = session.get_one(DeliveryBatch, batch_id)
    return Lane(batch.tenant_id, batch.endpoint_host, batch.vapid_key_id)


def state(pipeline):
    """That of the only lane that has one."""
    with transaction(pipeline.sessions) as session:
        return session.scalars(select(ServiceState)).one()


def statuses(pipeline):
    with transaction(pipeline.sessions) as session:
        query = select(DeliveryLog.status, func.count()).group_by(DeliveryLog.status)
        return dict(session.execute(query).all())


def batches(pipeline, state):
    with transaction(pipeline.sessions) as session:
        return session.scalars(select(func.count()).where(DeliveryBatch.state == state)).one()


def let_it_be_later(pipeline):
    """As if an hour had gone by for push services and retries, and for no deadline."""
    with transaction(pipeline.sessions) as session:
        session.execute(
            text(
                "UPDATE push_service_states SET paused_until = paused_until - interval '1 hour',"
                " slowed_at = slowed_at - interval '1 hour', next_slot_at = next_slot_at - interval '1 hour'"
            )
        )
        session.execute(text("UPDATE push_delivery_batches SET not_before = now() WHERE state = 'ready'"))


def test_a_service_that_asks_for_less_waits_alone_and_is_probed_afterwards(pipeline, push_service, subscribe):
    throttled, *others = (subscribe(20, host=host) for host in (ONE, ANOTHER, THIRD))
    push_service.answers(429, retry_after=600, host=ONE)
    send(pipeline, limits=NOTHING_INLINE)

    finish_with_a_worker(pipeline)

    assert [received(each) for each in others] == [[1] * 20] * 2
    assert received(throttled) == [0] * 20
    waiting = state(pipeline)
    assert (waiting.endpoint_host.split(":")[0], waiting.reason, waiting.strikes) == (ONE, "throttled", 1)
    assert waiting.slowed_to >= 1
    push_service.script.clear()
    let_it_be_later(pipeline)
    finish_with_a_worker(pipeline)
    assert received(throttled) == [1] * 20
    assert (state(pipeline).reason, state(pipeline).strikes) == (None, 0)


@pytest.mark.parametrize(
    "push_timeouts", [Timeouts(read_seconds=3600, answer_seconds=3600)], ids=["it is waited for"]
)
def test_a_service_that_hangs_holds_up_neither_the_others_nor_a_second_notification(
    pipeline, push_service, subscribe
):
    hanging = subscribe(40, host=ONE)
    others = [*subscribe(20, host=ANOTHER), *subscribe(20, host=THIRD)]
    push_service.hangs(host=ONE)
    loop = DeliveryLoop(pipeline)
    loop.start()

    send(pipeline, limits=NOTHING_INLINE)
    until(lambda: received(others) == [1] * 40, "the others get the first one")
    until(lambda: push_service.counts.posts > 40, "it hangs")
    send(pipeline, limits=NOTHING_INLINE)
    until(lambda: received(others) == [2] * 40, "and the second one")

    assert received(hanging) == [0] * 40
    push_service.script.clear()
    push_service.drop_connections()
    assert loop.stop(120)


def test_a_service_that_does_not_answer_costs_a_few_messages_at_each_attempt(pipeline, subscribe):
    subscribe(50)
    sender = PacedSender([TIMEOUT] * 1000)
    batch_ids = planned(pipeline)
    pipeline = with_sender(pipeline, sender)

    run_batch(pipeline, batch_ids[0])
    posted = [len(sender.posted)]
    for _ in range(3):
        let_it_be_later(pipeline)
        finish_with_a_worker(pipeline)
        posted.append(len(sender.posted))

    assert posted == [50, 50 + PROBE_MESSAGES, 50 + 2 * PROBE_MESSAGES, 50 + 3 * PROBE_MESSAGES]
    assert (state(pipeline).reason, state(pipeline).strikes) == ("troubled", 4)
    assert state(pipeline).slowed_to is None
    assert statuses(pipeline) == {"pending": 50}


def test_a_pause_that_one_process_sees_is_every_process(pipeline, subscribe):
    subscribe(20)
    [batch_id] = planned(pipeline)
    run_batch(with_sender(pipeline, ScriptedSender([THROTTLED] * 20)), batch_id)
    planned(pipeline)
    elsewhere = ScriptedSender()

    finish_with_a_worker(with_sender(pipeline, elsewhere))

    assert elsewhere.posted == []


def test_a_process_in_the_middle_of_a_batch_heeds_a_pause_and_gives_back_the_rest(pipeline, subscribe, monkeypatch):
    monkeypatch.setattr(run, "WRITE_EVERY_ROWS", 2)
    subscribe(10)
    [batch_id] = planned(pipeline)

    def pause(number):
        if number == 3:
            with transaction(pipeline.sessions) as session:
                service_states.pause(session, lane_of(pipeline, batch_id), Pause(PauseReason.THROTTLED, 60.0, 10.0))

    sender = ScriptedSender(before=pause)

    run_batch(with_sender(pipeline, sender), batch_id)

    assert len(sender.posted) == 4
    assert statuses(pipeline) == {"sent": 4, "pending": 6}
    assert batches(pipeline, "ready") == 1
    with transaction(pipeline.sessions) as session:
        attempts = session.scalars(select(DeliveryLog.attempts).where(DeliveryLog.status == "pending")).all()
    assert attempts == [0] * 6


def test_what_else_runs_in_the_lane_in_this_process_stops_at_once(pipeline, subscribe):
    subscribe(10)
    [batch_id] = planned(pipeline)
    lane = lane_of(pipeline, batch_id)
    sender = ScriptedSender(before=lambda number: pipeline.traffic.pause(lane, 60.0) if number == 1 else None)

    run_batch(replace(pipeline, sender=sender), batch_id)

    assert len(sender.posted) == 2
    assert statuses(pipeline) == {"sent": 2, "pending": 8}


def test_who_was_asked_for_less_goes_at_a_rate_until_it_has_recovered(pipeline, subscribe):
    subscribe(100)
    [batch_id] = planned(pipeline)
    sender = PacedSender()
    pipeline = with_sender(pipeline, sender)
    with transaction(pipeline.sessions) as session:
        service_states.pause(session, lane_of(pipeline, batch_id), Pause(PauseReason.THROTTLED, 60.0, 2.0))
        session.execute(
            text(
                "UPDATE push_service_states SET paused_until = now(), slowed_at = now() + interval '1 hour',"
                " strikes = 0"
            )
        )

    finish_with_a_worker(pipeline)

    assert sender.rates == [(20, 2.0)], "for ten seconds, and then it is looked at again"
    assert statuses(pipeline) == {"sent": 20, "pending": 80}
    let_it_be_later(pipeline)
    let_it_be_later(pipeline)
    finish_with_a_worker(pipeline)
    assert sender.rates[1:] == [(80, None)]
    assert statuses(pipeline) == {"sent": 100}


def test_the_rate_that_is_set_holds_for_all_processes_together(pipeline, subscribe):
    subscribe(12, host=ONE)
    subscribe(3, host=ANOTHER)
    planned(pipeline)
    sender = PacedSender()
    processes = [with_sender(pipeline, sender, max_per_second=0.5) for _ in range(2)]

    posted = []
    for _ in range(3):
        for process in processes:
            finish_with_a_worker(process)
        posted.append(len(sender.posted))
        let_it_be_later(pipeline)

    assert sorted(sender.rates) == [(2, 0.5), (3, 0.5), (5, 0.5), (5, 0.5)]
    assert posted == [8, 13, 15], "ten seconds' worth for each push service, whoever sends it"


def test_a_request_leaves_to_the_workers_what_the_rate_does_not_allow(pipeline, subscribe):
    subscribe(8)

    sent = send(with_sender(pipeline, PacedSender(), max_per_second=0.5))

    assert not sent.is_complete
    assert sent.counts == {"sent": 5, "pending": 3}


def test_a_small_notification_overtakes_the_backlog_of_a_large_one(pipeline, subscribe, monkeypatch):
    monkeypatch.setattr(plan, "BATCH_SIZE", 2)
    monkeypatch.setattr(plan, "PAGE_SIZE", 6)
    subscribe(19)
    subscribe(1, topics=["news"])
    sender = ScriptedSender()
    large = send(pipeline, limits=NOTHING_INLINE, title="large").notification.id
    with transaction(pipeline.sessions) as session:
        while not plan.plan_page(session, large).is_last:
            pass
    planned(pipeline, topics=["news"], title="small")

    finish_with_a_worker(with_sender(pipeline, sender))

    titles = [json.loads(message.payload)["title"] for message in sender.posted]
    assert len(titles) == 21
    assert titles.index("small") == 2, "after the first batch of the large one, and before the other nine"


def test_small_notifications_that_never_end_do_not_keep_a_large_one_waiting_for_good(
    pipeline, subscribe, monkeypatch
):
    monkeypatch.setattr(plan, "BATCH_SIZE", 2)
    subscribe(8)
    subscribe(1, topics=["news"])
    planned(pipeline, title="large")
    sender = ScriptedSender()
    loop = DeliveryLoop(with_sender(pipeline, sender))

    for _ in range(3 * LONGEST_DUE_EVERY):
        planned(pipeline, topics=["news"], title="small")
        loop.run_once()

    titles = [json.loads(message.payload)["title"] for message in sender.posted]
    assert titles.count("large") >= 6, "its first batch, and another with each turn of who has waited for longest"


def test_while_draining_nothing_is_begun_and_afterwards_everybody_is_reached(pipeline, subscribe):
    subscribers = subscribe(5)
    with transaction(pipeline.sessions) as session:
        session.add(Drain())

    small, large = send(pipeline), send(pipeline, limits=NOTHING_INLINE)
    finish_with_a_worker(pipeline)

    assert (small.is_complete, large.is_complete) == (False, False)
    assert received(subscribers) == [0] * 5
    with transaction(pipeline.sessions) as session:
        assert session.scalars(select(func.count()).select_from(DeliveryLog)).one() == 0, "nobody is planned"
        session.execute(text("DELETE FROM push_drain"))
        session.execute(text("UPDATE push_notifications SET plan_after = now()"))
    finish_with_a_worker(pipeline)
    assert received(subscribers) == [2] * 5


def test_a_drain_that_begins_in_the_middle_of_a_batch_gives_back_the_rest(pipeline, subscribe, monkeypatch):
    monkeypatch.setattr(run, "WRITE_EVERY_ROWS", 2)
    subscribe(6)
    [batch_id] = planned(pipeline)

    def drain(number):
        if number == 1:
            with transaction(pipeline.sessions) as session:
                session.add(Drain())

    sender = ScriptedSender(before=drain)

    run_batch(with_sender(pipeline, sender), batch_id)

    assert len(sender.posted) == 2
    assert statuses(pipeline) == {"sent": 2, "pending": 4}
    assert (batches(pipeline, "ready"), batches(pipeline, "leased")) == (1, 0)
