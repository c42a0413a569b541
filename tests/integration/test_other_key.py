"""Browsers that did not say with which key they subscribed, retired keys, and what is sent with which key."""

import pytest
from sqlalchemy import select

from app.db.session import transaction
from app.delivery import plan, record
from app.delivery.other_key import MARK_STANDS
from app.delivery.run import run_batch
from app.keyring import retiring
from app.models import DEFAULT_TENANT_ID, DeliveryLog
from app.push.keys import VapidKey, decode_base64url
from app.push.outcome import Outcome, Reason, Verdict
from tests.support.delivery import (
    NOTHING_INLINE,
    change,
    claim_batch,
    finish_with_a_worker,
    ledger_adds_up,
    received,
    send,
)

REFUSED = Outcome(Verdict.KEY_MISMATCH, Reason.KEY_MISMATCH, 403)
ACCEPTED = Outcome(Verdict.ACCEPTED, Reason.ACCEPTED, 201)


@pytest.fixture
def rotate(pipeline):
    """Makes a new active key, and returns its id."""

    def rotate():
        with transaction(pipeline.sessions) as session:
            return pipeline.keyring.rotate(session, DEFAULT_TENANT_ID).id

    return rotate


@pytest.fixture
def retire(pipeline):
    def retire(key_id):
        with transaction(pipeline.sessions) as session:
            retiring.retire(session, key_id, lose_at_most=1000)

    return retire


def posts(subscriber):
    return [post.status for post in subscriber.browser.posts]


def send_and_finish(pipeline):
    sent = send(pipeline)
    finish_with_a_worker(pipeline)
    assert ledger_adds_up(pipeline.sessions, sent)


def test_who_subscribed_with_the_key_from_before_gets_the_same_notification(pipeline, subscribe, rotate):
    [late, other] = subscribe(2)
    made_with = late.row.vapid_key_id
    assumed = rotate()
    change(late, vapid_key_id=assumed)

    send_and_finish(pipeline)
    log = late.log
    send_and_finish(pipeline)

    assert received([late, other]) == [2, 2]
    assert posts(late) == [403, 201, 201], "the second was signed with the right key at once"
    assert (late.row.vapid_key_id, late.row.key_mismatch_at, late.row.failure_count) == (made_with, None, 0)
    assert (log.status, log.reason, log.attempts) == ("sent", None, 2)


def test_every_key_is_tried_once_from_the_newest_to_the_oldest(pipeline, subscribe, rotate):
    [subscriber] = subscribe()
    made_with = subscriber.row.vapid_key_id
    rotate()
    change(subscriber, vapid_key_id=rotate())

    send_and_finish(pipeline)

    assert posts(subscriber) == [403, 403, 201]
    assert subscriber.row.vapid_key_id == made_with


def test_somebody_elses_key_is_tried_with_each_of_ours_once_and_then_once_a_notification(
    pipeline, subscribe, rotate
):
    [forged] = subscribe()
    active = rotate()
    change(forged, vapid_key_id=active)
    forged.browser.application_server_key = decode_base64url(VapidKey.generate().public)

    send_and_finish(pipeline)
    first, log, marked_at = posts(forged), forged.log, forged.row.key_mismatch_at
    for _ in range(2):
        send_and_finish(pipeline)

    assert first == [403, 403]
    assert (log.status, log.reason, log.response_code) == ("failed", "key_mismatch", 403)
    assert marked_at is not None
    assert posts(forged) == [403] * 4
    assert forged.row.key_mismatch_at == marked_at
    change(forged, key_mismatch_at=marked_at - MARK_STANDS)
    send_and_finish(pipeline)
    assert posts(forged) == [403] * 6, "perhaps it was our fault"


def test_a_fault_of_ours_leaves_everybody_with_the_key_that_is_likely(pipeline, push_service, subscribe, rotate):
    rotate()
    subscribers = subscribe(3)
    push_service.answers(403)
    for _ in range(3):
        send_and_finish(pipeline)
    push_service.script.clear()

    send_and_finish(pipeline)

    assert received(subscribers) == [1] * 3
    assert [subscriber.row.key_mismatch_at for subscriber in subscribers] == [None] * 3


@pytest.mark.parametrize("known", ["named", "established"])
def test_whose_key_is_known_stays_with_it(pipeline, subscribe, rotate, known):
    [subscriber] = subscribe()
    key_id = rotate()
    change(subscriber, vapid_key_id=key_id, key_is_assumed=known != "named")
    if known == "established":
        change(subscriber, first_accepted_at=subscriber.row.created_at)

    send_and_finish(pipeline)

    assert posts(subscriber) == [403]
    assert (subscriber.log.status, subscriber.log.reason) == ("failed", "key_mismatch")
    assert subscriber.row.vapid_key_id == key_id
    assert subscriber.row.key_mismatch_at is not None


def claimed_at_once(pipeline, count):
    """Return so many notifications' batches, all claimed before any is recorded."""
    works = []
    for sent in [send(pipeline, limits=NOTHING_INLINE) for _ in range(count)]:
        with transaction(pipeline.sessions) as session:
            [batch_id] = plan.plan_page(session, sent.notification.id).batch_ids
            work = claim_batch(session, batch_id)
            assert work is not None
            works.append(work)
    return works


def record_all(pipeline, work, outcome):
    with transaction(pipeline.sessions) as session:
        record.write(session, work, [(recipient, outcome) for recipient in work.recipients])


def test_two_notifications_at_once_both_find_the_right_key(pipeline, subscribe, rotate):
    [subscriber] = subscribe()
    change(subscriber, vapid_key_id=rotate())

    for work in claimed_at_once(pipeline, 2):
        record_all(pipeline, work, REFUSED)
        finish_with_a_worker(pipeline)  # the first is accepted before the second is recorded

    assert posts(subscriber) == [201, 201]
    assert subscriber.row.key_mismatch_at is None


def test_what_one_key_got_accepted_does_not_establish_the_next(pipeline, subscribe, rotate):
    [subscriber] = subscribe()
    made_with = subscriber.row.vapid_key_id
    rotate()
    refused, accepted = claimed_at_once(pipeline, 2)

    record_all(pipeline, refused, REFUSED)  # it is moved to the other key
    record_all(pipeline, accepted, ACCEPTED)
    send_and_finish(pipeline)

    assert received([subscriber]) == [1]
    assert subscriber.row.vapid_key_id == made_with


def test_who_is_refused_with_the_only_key_is_marked(pipeline, subscribe, rotate, retire):
    [subscriber] = subscribe()
    old = subscriber.row.vapid_key_id
    new = rotate()
    change(subscriber, vapid_key_id=new)
    retire(old)

    send_and_finish(pipeline)

    assert posts(subscriber) == [403]
    assert subscriber.row.vapid_key_id == new
    assert subscriber.row.key_mismatch_at is not None


def test_nobody_is_planned_for_a_retired_key(pipeline, subscribe, rotate, retire):
    [lost] = subscribe()
    retired = lost.row.vapid_key_id
    rotate()
    [kept] = subscribe()
    retire(retired)

    sent = send(pipeline)

    assert sent.notification.targeted == 1
    assert received([lost, kept]) == [0, 1]


def test_what_is_pending_when_its_key_is_retired_fails_and_says_so(pipeline, subscribe, rotate, retire):
    [lost] = subscribe()
    retired = lost.row.vapid_key_id
    send(pipeline)  # its key is opened by now
    rotate()
    [kept] = subscribe()
    with transaction(pipeline.sessions) as session:
        sent = send(pipeline, limits=NOTHING_INLINE)
        batch_ids = plan.plan_page(session, sent.notification.id).batch_ids
    retire(retired)

    for batch_id in batch_ids:
        run_batch(pipeline, batch_id)

    assert received([lost, kept]) == [1, 1]
    with transaction(pipeline.sessions) as session:
        of_second = select(DeliveryLog).where(DeliveryLog.notification_id == sent.notification.id)
        rows = {row.subscription_id: (row.status, row.reason) for row in session.scalars(of_second)}
    assert rows == {lost.id: ("failed", "key_retired"), kept.id: ("sent", None)}


def test_a_restored_key_signs_again(pipeline, subscribe, rotate, retire):
    [subscriber] = subscribe()
    key_id = subscriber.row.vapid_key_id
    rotate()
    retire(key_id)
    with transaction(pipeline.sessions) as session:
        retiring.restore(session, pipeline.keyring, key_id)

    send_and_finish(pipeline)

    assert received([subscriber]) == [1]
