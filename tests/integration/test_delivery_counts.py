"""The counts of a notification are those of its rows, whatever is under way, and a closed batch keeps its own."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import event, func, select, text

from app.db.session import database_now, transaction
from app.delivery import audit, cancel, claim, plan, record, run, settle
from app.delivery.run import run_batch
from app.models import DeliveryBatch, DeliveryLog, Notification
from app.notifications.repository import counts_of
from tests.support.delivery import NOTHING_INLINE, change, claim_batch, finish_with_a_worker, send
from tests.support.ledger import add_deliveries
from tests.support.senders import ACCEPTED, GONE, REJECTED, UNAVAILABLE, ScriptedSender

AUDIENCE = 12
MIXED = [ACCEPTED, UNAVAILABLE, GONE, REJECTED, ACCEPTED, UNAVAILABLE]


@pytest.fixture
def batch_ids(pipeline, subscribe, monkeypatch):
    """The batches of a notification to twelve, four in each; what is answered is written two by two."""
    monkeypatch.setattr(plan, "BATCH_SIZE", 4)
    monkeypatch.setattr(run, "WRITE_EVERY_ROWS", 2)
    subscribe(AUDIENCE)
    sent = send(pipeline, limits=NOTHING_INLINE)
    with transaction(pipeline.sessions) as session:
        return plan.plan_page(session, sent.notification.id).batch_ids


def counts(sessions):
    """As they are shown, of the only notification; its rows and batches have to say the same."""
    with audit.snapshot(sessions) as session:
        notification = session.scalars(select(Notification)).one()
        shown = counts_of(session, [notification])[notification.id]
        rows = select(DeliveryLog.status, func.count()).group_by(DeliveryLog.status)
        assert shown == dict(session.execute(rows).all())
        assert audit.examine(session).adds_up
    return shown


def closed(sessions):
    """The counts of the closed batches: sent, delivered, failed, expired."""
    with transaction(sessions) as session:
        batch = DeliveryBatch
        columns = (batch.sent_count, batch.delivered_count, batch.failed_count, batch.expired_count)
        query = select(*columns).where(batch.state == "closed").order_by(batch.id)
        return [tuple(row) for row in session.execute(query)]


def take(session, batch_id):
    return claim_batch(session, batch_id)


def let_everything_be_due(sessions):
    with transaction(sessions) as session:
        session.execute(text("UPDATE push_delivery_batches SET not_before = now() WHERE state = 'ready'"))


def cancel_it(sessions):
    with transaction(sessions) as session:
        cancel.cancel(session, session.scalars(select(Notification).with_for_update()).one())


def test_they_are_exact_before_each_message_and_at_the_end(pipeline, batch_ids):
    seen = []
    sender = ScriptedSender(MIXED, before=lambda number: seen.append(counts(pipeline.sessions)))
    pipeline = replace(pipeline, sender=sender)

    finish_with_a_worker(pipeline)
    waiting = counts(pipeline.sessions)
    let_everything_be_due(pipeline.sessions)
    finish_with_a_worker(pipeline)

    assert seen[0] == {"pending": AUDIENCE}
    assert waiting == {"pending": 2, "sent": 8, "failed": 1, "expired": 1}
    assert counts(pipeline.sessions) == {"sent": 10, "failed": 1, "expired": 1}
    assert {(1, 0, 1, 1), (3, 0, 0, 0), (4, 0, 0, 0)} <= set(closed(pipeline.sessions))


def test_those_who_left_before_the_claim_are_counted(pipeline, batch_ids):
    with transaction(pipeline.sessions) as session:
        session.execute(text("UPDATE push_subscriptions SET enabled = false"))
        work = take(session, batch_ids[0])
    begun = counts(pipeline.sessions)

    with transaction(pipeline.sessions) as session:
        claim.close(session, work)

    assert begun == counts(pipeline.sessions) == {"pending": 8, "failed": 4}
    assert closed(pipeline.sessions) == [(0, 0, 4, 0)]


def test_what_is_given_back_is_counted_by_what_was_done_of_it(pipeline, batch_ids):
    stopping: list[int] = []
    sender = ScriptedSender(before=stopping.append)

    run_batch(replace(pipeline, sender=sender), batch_ids[0], stop=lambda: len(stopping) == 3)

    assert counts(pipeline.sessions) == {"pending": 9, "sent": 3}
    assert closed(pipeline.sessions) == []


def test_past_the_deadline_they_are_settled_while_the_lane_is_paused(pipeline, batch_ids, monkeypatch):
    monkeypatch.setattr(settle, "SHORTEST_DEADLINE", timedelta(0))
    run_batch(replace(pipeline, sender=ScriptedSender([UNAVAILABLE] * 4)), batch_ids[0])
    run_batch(replace(pipeline, sender=ScriptedSender([UNAVAILABLE] * 4)), batch_ids[1])
    finish_with_a_worker(pipeline)
    before = counts(pipeline.sessions)
    with transaction(pipeline.sessions) as session:
        session.execute(text("UPDATE push_notifications SET ttl_seconds = 0"))
        session.execute(text("UPDATE push_delivery_logs SET deadline = now()"))

    finish_with_a_worker(pipeline)

    assert before == {"pending": AUDIENCE}
    assert counts(pipeline.sessions) == {"expired": AUDIENCE}
    with transaction(pipeline.sessions) as session:
        assert set(session.scalars(select(DeliveryLog.reason))) == {"deadline"}
        assert session.scalar(text("SELECT paused_until > now() FROM push_service_states"))


def let_the_lease_run_out(sessions):
    with transaction(sessions) as session:
        session.execute(text("UPDATE push_delivery_batches SET leased_until = now() WHERE state = 'leased'"))


@pytest.mark.parametrize("is_first_to_write", [True, False])
def test_what_two_had_in_hand_is_counted_whoever_wrote_first(pipeline, batch_ids, is_first_to_write):
    works = []
    for _ in range(2):
        with transaction(pipeline.sessions) as session:
            works.append(take(session, batch_ids[0]))
        let_the_lease_run_out(pipeline.sessions)

    first, second = works if is_first_to_write else reversed(works)
    for work, outcome in ((first, UNAVAILABLE), (second, ACCEPTED)):
        with transaction(pipeline.sessions) as session:
            record.write(session, work, [(recipient, outcome) for recipient in work.recipients])
            claim.close(session, work)

    assert counts(pipeline.sessions) == {"pending": 8, "sent": 4}


def test_a_cancelled_notifications_batches_are_counted_as_they_are_settled(pipeline, batch_ids):
    run_batch(replace(pipeline, sender=ScriptedSender(MIXED)), batch_ids[0])
    cancel_it(pipeline.sessions)
    marked = counts(pipeline.sessions)

    finish_with_a_worker(pipeline)

    assert marked == {"pending": 9, "sent": 1, "failed": 1, "expired": 1}
    assert counts(pipeline.sessions) == {"sent": 1, "failed": 10, "expired": 1}
    assert sum(map(sum, closed(pipeline.sessions))) == AUDIENCE


def test_cancelled_in_a_paused_lane_they_are_settled_as_well(pipeline, batch_ids):
    run_batch(replace(pipeline, sender=ScriptedSender([UNAVAILABLE] * 4)), batch_ids[0])
    run_batch(replace(pipeline, sender=ScriptedSender([UNAVAILABLE] * 4)), batch_ids[1])
    with transaction(pipeline.sessions) as session:
        assert session.scalar(text("SELECT paused_until > now() FROM push_service_states"))
    cancel_it(pipeline.sessions)

    finish_with_a_worker(pipeline)

    assert counts(pipeline.sessions) == {"failed": AUDIENCE}
    with transaction(pipeline.sessions) as session:
        assert session.scalars(select(Notification.finished_at)).one() is not None


def test_who_lost_the_lease_and_records_after_all_changes_no_count(pipeline, batch_ids):
    with transaction(pipeline.sessions) as session:
        slow = take(session, batch_ids[0])
        session.execute(text("UPDATE push_delivery_batches SET leased_until = now() - interval '1 second'"))
    run_batch(replace(pipeline, sender=ScriptedSender()), batch_ids[0])

    with transaction(pipeline.sessions) as session:
        record.write(session, slow, [(recipient, REJECTED) for recipient in slow.recipients])
        claim.close(session, slow)

    assert counts(pipeline.sessions) == {"pending": 8, "sent": 4}
    assert closed(pipeline.sessions) == [(4, 0, 0, 0)]


def test_those_of_an_earlier_version_are_counted_by_their_rows(pipeline, batch_ids):
    finish_with_a_worker(replace(pipeline, sender=ScriptedSender(MIXED)))
    with transaction(pipeline.sessions) as session:
        session.execute(
            text(
                "UPDATE push_delivery_batches SET claimed_at = NULL, sent_count = NULL, delivered_count = NULL,"
                " failed_count = NULL, expired_count = NULL WHERE state = 'closed'"
            )
        )

    assert counts(pipeline.sessions) == {"pending": 2, "sent": 8, "failed": 1, "expired": 1}


def test_rows_that_outlived_their_batches_are_counted(sessions):
    with transaction(sessions) as session:
        now = database_now(session)
        notification_id = add_deliveries(session, planned_at=now, counts={"sent": 3, "failed": 2}, reason="gone")
        add_deliveries(session, planned_at=now, counts={"sent": 600, "delivered": 1, "pending": 7})
        session.execute(
            text("DELETE FROM push_delivery_batches WHERE notification_id = :id"), {"id": notification_id}
        )

        shown = counts_of(session, session.scalars(select(Notification).order_by(Notification.id)).all())

    assert list(shown.values()) == [{"sent": 3, "failed": 2}, {"pending": 7, "sent": 600, "delivered": 1}]


def test_closing_looks_at_the_rows_once(pipeline, batch_ids):
    with transaction(pipeline.sessions) as session:
        work = take(session, batch_ids[0])
    statements: list[str] = []

    with transaction(pipeline.sessions) as session:
        event.listen(session.connection(), "before_cursor_execute", lambda *args: statements.append(args[2]))
        record.write(session, work, [(recipient, ACCEPTED) for recipient in work.recipients])
        claim.close(session, work)

    assert sum("push_delivery_logs" in statement for statement in statements) == 2, "to write them, and to count"
    assert not any("push_service_states" in statement for statement in statements)


def test_somebody_disabled_meanwhile_is_no_pending_one_for_ever(pipeline, subscribe):
    subscriber, _ = subscribe(2)
    sent = send(pipeline, limits=NOTHING_INLINE)
    with transaction(pipeline.sessions) as session:
        plan.plan_page(session, sent.notification.id)
    change(subscriber, enabled=False)

    finish_with_a_worker(replace(pipeline, sender=ScriptedSender()))

    assert counts(pipeline.sessions) == {"sent": 1, "failed": 1}
    assert closed(pipeline.sessions) == [(1, 0, 1, 0)]
