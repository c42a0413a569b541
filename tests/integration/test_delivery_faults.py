"""The database goes away at every single step of a send: nobody is lost, and the ledger adds up all the same."""

from collections import Counter
from dataclasses import replace

import pytest
from sqlalchemy import event, func, select, text

from app.db.session import PASSING_ERRORS, engine_of, transaction
from app.delivery import record, run
from app.models import DeliveryLog, DeliveryStatus, Notification, Subscription
from app.push.outcome import Outcome, Reason, Verdict
from tests.support.delivery import finish_with_a_worker, ledger_adds_up, send
from tests.support.senders import GONE, REJECTED, UNAVAILABLE, ScriptedSender

AUDIENCE = 6
TOO_LATE = Outcome(Verdict.EXPIRED, Reason.DEADLINE)  # says the sender, by the process's clock


class FailingConnection:
    """Cuts the connection just before the n-th statement or commit (from 1), once."""

    def __init__(self, sessions):
        self.steps = 0
        self._fails_at = None
        engine = engine_of(sessions)
        event.listen(engine, "before_cursor_execute", lambda connection, *rest: self._step(connection))
        event.listen(engine, "commit", self._step)

    def at(self, step):
        self.steps, self._fails_at = 0, step

    def _step(self, connection):
        self.steps += 1
        if self.steps == self._fails_at:
            connection.connection.dbapi_connection.close()


@pytest.fixture
def connection(pipeline, monkeypatch):
    monkeypatch.setattr(run, "FIRST_WAIT_SECONDS", 0.001)
    return FailingConnection(pipeline.sessions)


@pytest.fixture
def sender():
    return ScriptedSender([UNAVAILABLE, GONE, REJECTED])


@pytest.fixture
def pipeline(pipeline, sender):
    return replace(pipeline, sender=sender)


def finish_over_days(pipeline):
    """Let a worker come again and again, as if a day went by each time."""
    is_unfinished = True
    while is_unfinished:
        finish_with_a_worker(pipeline)
        with transaction(pipeline.sessions) as session:
            session.execute(text("UPDATE push_notifications SET plan_after = now() WHERE state = 'planning'"))
            session.execute(text("UPDATE push_delivery_batches SET not_before = now() WHERE state = 'ready'"))
            session.execute(text("UPDATE push_delivery_batches SET leased_until = now() WHERE state = 'leased'"))
            unfinished = select(func.count()).where(Notification.state != "sent")
            is_unfinished = bool(session.scalars(unfinished).one())


def test_who_is_too_late_by_a_clock_that_jumped_is_tried_again_and_posted(pipeline, sender, subscribe):
    subscribers = subscribe(AUDIENCE)
    sender.start_again([TOO_LATE] * 2)

    sent = send(pipeline)
    waiting = Counter(subscriber.log.status for subscriber in subscribers)
    finish_over_days(pipeline)

    assert waiting == {DeliveryStatus.SENT: AUDIENCE - 2, DeliveryStatus.PENDING: 2}
    assert {(each.log.status, each.log.attempts) for each in subscribers} == {(DeliveryStatus.SENT, 1)}
    assert {each.row.failure_count for each in subscribers} == {0}
    assert ledger_adds_up(pipeline.sessions, sent)


def test_who_is_too_late_by_the_databases_clock_too_has_expired(pipeline, sender, subscribe, monkeypatch):
    [subscriber] = subscribe(1)
    sender.start_again([TOO_LATE])
    monkeypatch.setattr(record, "CLOCK_TOLERANCE_SECONDS", 3600.0)

    send(pipeline, ttl=3600)

    assert (subscriber.log.status, subscriber.log.reason) == (DeliveryStatus.EXPIRED, "deadline")


def steps_of_a_send(pipeline, connection):
    connection.at(None)
    send(pipeline)
    return connection.steps


def test_a_connection_lost_at_any_step_loses_nobody(pipeline, sender, subscribe, connection):
    subscribe(AUDIENCE)
    steps = steps_of_a_send(pipeline, connection)
    finish_over_days(pipeline)
    assert steps > 20

    for step in range(1, steps + 1):
        with transaction(pipeline.sessions) as session:
            session.execute(text("UPDATE push_subscriptions SET enabled = true, gone_at = NULL"))
        sender.start_again()
        connection.at(step)

        try:
            sent = send(pipeline)
        except PASSING_ERRORS:
            assert not sender.posted, f"step {step}: refused, but something was posted"
            continue
        finally:
            connection.at(None)
        finish_over_days(pipeline)

        with transaction(pipeline.sessions) as session:
            notification = session.get_one(Notification, sent.notification.id)
            counts = Counter(
                session.scalars(select(DeliveryLog.status).where(DeliveryLog.notification_id == notification.id))
            )
            everybody = set(map(str, session.scalars(select(Subscription.id))))
        assert notification.targeted == AUDIENCE, f"step {step}"
        assert counts.total() - counts[DeliveryStatus.PENDING] == AUDIENCE, f"step {step}: {counts}"
        assert {message.ref for message in sender.posted} == everybody, f"step {step}"
