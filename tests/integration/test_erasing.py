"""A person is erased: nothing says any more who it was, and the ledger adds up at every moment."""

import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from app.db.session import database_now, transaction
from app.delivery import claim, erasing, plan, record
from app.delivery.claim import Work
from app.ids import new_id
from app.models import (
    DEFAULT_TENANT_ID,
    DeliveryLog,
    DeliveryStatus,
    IdempotencyKey,
    Notification,
    NotificationState,
    Receipt,
    Skip,
    Subscription,
)
from app.notifications import idempotency
from app.notifications import repository as notifications
from app.notifications import service as sending
from app.notifications.schedule import release_due
from app.notifications.schemas import SendRequest
from app.notifications.sent import Replay, Sent
from app.notifications.service import SendOptions
from app.push.outcome import Outcome, Reason, Verdict
from app.users import repository, service
from app.users.service import Erasure
from tests.support.broken_off import broken_off
from tests.support.delivery import (
    LIMITS,
    NOTHING_INLINE,
    claim_batch,
    finish_with_a_worker,
    is_somebody_waiting,
    received,
    send,
)
from tests.support.erasing import PERSON, count, erase, everything, traces_of
from tests.support.ledger import adds_up
from tests.support.senders import ACCEPTED, GONE
from tests.support.waiting import until

LATER = Outcome(Verdict.RETRY, Reason.PUSH_SERVICE_ERROR, 503, retry_after_seconds=60)


def send_with_key(pipeline, **fields: Any) -> Sent | Replay:
    return sending.send(
        pipeline,
        SendRequest(title="Hello", body="A message", **fields),
        tenant_id=DEFAULT_TENANT_ID,
        default_ttl_seconds=3600,
        limits=LIMITS,
        options=SendOptions(idempotency_key="hello"),
    )


def test_nothing_anywhere_says_who_it_was(pipeline, sessions, subscribe) -> None:
    alive, gone, deleted, quarantined = hers = subscribe(4, user_id=PERSON)
    (other,) = subscribe(user_id="bob")
    ids = [subscriber.id for subscriber in (*hers, other)]
    sent = send_with_key(pipeline, user_ids=[PERSON, "bob"], subscription_ids=ids)
    assert isinstance(sent, Sent)
    with transaction(sessions) as session:
        now = database_now(session)
        for subscriber, values in (
            (gone, {"gone_at": now, "enabled": False}),
            (deleted, {"deleted_at": now}),
            (quarantined, {"gone_at": now, "quarantined_at": now, "quarantine_id": new_id()}),
        ):
            session.execute(update(Subscription).where(Subscription.id == subscriber.id).values(**values))
        for subscriber in (alive, other):
            session.add(
                Receipt(
                    **{"id": new_id(), "tenant_id": DEFAULT_TENANT_ID, "planned_at": now, "event": "displayed"},
                    **{"notification_id": sent.notification.id, "subscription_id": subscriber.id},
                    occurred_at=now,
                )
            )
            session.add(
                Skip(
                    **{"tenant_id": DEFAULT_TENANT_ID, "notification_id": sent.notification.id},
                    **{"subscription_id": subscriber.id, "reason": "quiet"},
                )
            )
    before = everything(sessions)
    traces = traces_of(hers)

    first, again = erase(sessions), erase(sessions)

    after = everything(sessions)
    assert all(trace in before for trace in traces)
    assert [trace for trace in traces if trace in after] == []
    assert first == Erasure(subscriptions=4, deliveries=4, receipts=1, skips=1, notifications=1)
    assert again == Erasure()
    assert all(trace in after for trace in traces_of([other]) if trace != PERSON)
    assert count(sessions, Receipt.id.is_not(None)) == count(sessions, Skip.reason.is_not(None)) == 1
    assert adds_up(sessions)


def test_what_a_send_was_answered_is_told_again_without_the_erased(pipeline, sessions, subscribe) -> None:
    (hers,) = subscribe(user_id=PERSON)
    (his,) = subscribe(user_id="bob")
    body = {"subscription_ids": [hers.id, his.id]}
    first = send_with_key(pipeline, **body).answer.body

    erase(sessions)
    again = send_with_key(pipeline, **body)

    assert isinstance(again, Replay)
    listed = {delivery["subscription_id"] for delivery in again.answer.body["deliveries"]}
    assert {str(hers.id), str(his.id)} == {delivery["subscription_id"] for delivery in first["deliveries"]}
    assert (str(his.id) in listed, str(hers.id) in listed, len(listed)) == (True, False, 2)
    assert {name: again.answer.body[name] for name in ("targeted", "sent")} == {"targeted": 2, "sent": 2}


def test_an_answer_that_comes_after_the_erasure_is_not_stored(pipeline, sessions, subscribe, monkeypatch) -> None:
    (hers,) = subscribe(user_id=PERSON)
    remember = idempotency.remember

    def erased_just_before(*arguments: Any) -> None:
        erase(sessions)
        remember(*arguments)

    monkeypatch.setattr(idempotency, "remember", erased_just_before)

    sent = send_with_key(pipeline, subscription_ids=[hers.id])

    with transaction(sessions) as session:
        key = session.scalars(select(IdempotencyKey)).one()
    assert sent.answer.body["deliveries"][0]["subscription_id"] == str(hers.id)
    assert (key.response_body, key.locked_until) == (None, None)


def test_pending_deliveries_fail_as_erased_and_count_so_at_once(pipeline, sessions, subscribe) -> None:
    (hers,) = subscribe(user_id=PERSON)
    (his,) = subscribe(user_id="bob")
    sent = send(pipeline, limits=NOTHING_INLINE)
    with transaction(sessions) as session:
        plan.plan_page(session, sent.notification.id)

    erase(sessions)

    with transaction(sessions) as session:
        notification = session.get_one(Notification, sent.notification.id)
        counts = notifications.counts_of(session, [notification])[notification.id]
        ended = session.scalars(select(DeliveryLog).where(DeliveryLog.reason == "erased")).one()
    assert counts == {"pending": 1, "failed": 1}
    assert (ended.status, ended.attempts, ended.sent_at) == (DeliveryStatus.FAILED, 0, None)
    assert ended.subscription_id != hers.id
    assert adds_up(sessions)
    finish_with_a_worker(pipeline)
    with transaction(sessions) as session:
        assert session.get_one(Notification, notification.id).state == NotificationState.SENT
    assert received([hers, his]) == [0, 1]
    assert adds_up(sessions)


@pytest.mark.parametrize("outcome", [ACCEPTED, LATER, GONE])
def test_a_worker_that_holds_one_of_them_brings_nothing_back(pipeline, sessions, subscribe, outcome) -> None:
    (hers,) = subscribe(user_id=PERSON)
    (his,) = subscribe(user_id="bob")
    sent = send(pipeline, limits=NOTHING_INLINE)
    with transaction(sessions) as session:
        (batch_id,) = plan.plan_page(session, sent.notification.id).batch_ids
        work = claim_batch(session, batch_id)
    assert isinstance(work, Work)

    erase(sessions)
    in_between = adds_up(sessions)
    with transaction(sessions) as session:
        record.write(session, work, [(recipient, outcome) for recipient in work.recipients])
        claim.close(session, work)

    assert in_between
    assert adds_up(sessions)
    assert count(sessions, Subscription.id == hers.id) == 0
    assert count(sessions, DeliveryLog.subscription_id == hers.id) == 0
    assert count(sessions, DeliveryLog.reason == "erased", DeliveryLog.status == DeliveryStatus.FAILED) == 1
    assert count(sessions, DeliveryLog.subscription_id == his.id) == 1


@pytest.mark.parametrize("names", ["user", "subscription"])
def test_a_notification_for_nobody_else_is_for_nobody_and_never_for_everybody(
    pipeline, sessions, subscribe, names: str
) -> None:
    (hers,) = subscribe(user_id=PERSON)
    others = subscribe(2)
    target = {"user_ids": [PERSON]} if names == "user" else {"subscription_ids": [hers.id]}
    with transaction(sessions) as session:
        soon = database_now(session) + timedelta(hours=1)
    sent = send(pipeline, scheduled_at=soon, **target)

    erase(sessions)
    with transaction(sessions) as session:
        session.execute(update(Notification).values(scheduled_at=func.now()))
        release_due(session)
    finish_with_a_worker(pipeline)

    with transaction(sessions) as session:
        notification = session.get_one(Notification, sent.notification.id)
        targets = (notification.target_user_ids, notification.target_subscription_ids)
    assert targets == (([], None) if names == "user" else (None, []))
    assert (notification.state, notification.targeted, notification.is_broadcast) == ("sent", 0, False)
    assert received([hers, *others]) == [0, 0, 0]


def test_what_somebody_is_just_planning_is_waited_for(pipeline, sessions, subscribe) -> None:
    (hers,) = subscribe(user_id=PERSON)
    sent = send(pipeline, limits=NOTHING_INLINE)
    done: list[Erasure] = []
    eraser = threading.Thread(target=lambda: done.append(erase(sessions)))

    with transaction(sessions) as session:
        plan.plan_page(session, sent.notification.id)
        eraser.start()
        until(lambda: is_somebody_waiting(sessions), "the erasure waits for the planner")
    eraser.join()

    assert done[0].deliveries == 1
    assert count(sessions, DeliveryLog.subscription_id == hers.id) == 0
    assert adds_up(sessions)


def test_one_that_broke_off_anywhere_is_simply_repeated(pipeline, sessions, subscribe, monkeypatch) -> None:
    monkeypatch.setattr(service, "MARKED_AT_ONCE", 2)
    monkeypatch.setattr(service, "ERASED_AT_ONCE", 2)
    hers = subscribe(3, user_id=PERSON)
    send(pipeline, user_ids=[PERSON])
    pending = send(pipeline, limits=NOTHING_INLINE)
    with transaction(sessions) as session:
        plan.plan_page(session, pending.notification.id)
    traces = traces_of(hers)

    was_sound = [adds_up(sessions) for _ in broken_off(lambda: erase(sessions), service)]

    after = everything(sessions)
    assert len(was_sound) > 5
    assert all(was_sound)
    assert [trace for trace in traces if trace in after] == []


def test_who_has_very_many_is_erased_in_many_steps(pipeline, sessions, subscribe, monkeypatch) -> None:
    monkeypatch.setattr(erasing, "ROWS_AT_ONCE", 3)
    monkeypatch.setattr(repository, "NOTIFICATIONS_AT_ONCE", 1)
    monkeypatch.setattr(service, "ERASED_AT_ONCE", 4)
    hers = subscribe(10, user_id=PERSON)
    for _ in range(2):
        send(pipeline, user_ids=[PERSON])
    send(pipeline)
    traces = traces_of(hers)

    done = erase(sessions)

    after = everything(sessions)
    assert done == Erasure(subscriptions=10, deliveries=30, notifications=2)
    assert [trace for trace in traces if trace in after] == []
    assert adds_up(sessions)


def test_the_same_user_of_another_tenant_is_somebody_else(pipeline, sessions, subscribe) -> None:
    (hers,) = subscribe(user_id=PERSON)

    done = service.erase(sessions, UUID(int=7), PERSON)

    assert done == Erasure()
    assert hers.row.deleted_at is None
