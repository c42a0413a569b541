from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from app.db.session import transaction
from app.delivery import claim, plan
from app.delivery.finish import is_everybody_tried
from app.models import Notification
from tests.support.delivery import NOTHING_INLINE, claim_batch, is_somebody_waiting, send
from tests.support.waiting import until


@pytest.fixture
def notification_id(pipeline, subscribe, monkeypatch):
    """A notification to two, accepted and not planned; each of the two will be a batch."""
    monkeypatch.setattr(plan, "BATCH_SIZE", 1)
    subscribe(2)
    return send(pipeline, limits=NOTHING_INLINE).notification.id


def claimed(sessions, notification_id):
    with transaction(sessions) as session:
        batch_ids = plan.plan_page(session, notification_id).batch_ids
        return [claim_batch(session, batch_id) for batch_id in batch_ids]


def state(sessions, notification_id):
    with transaction(sessions) as session:
        return session.get_one(Notification, notification_id).state


def test_of_two_workers_closing_the_last_two_batches_at_once_one_finishes_the_notification(
    sessions, notification_id
):
    first, second = claimed(sessions, notification_id)

    def close_the_second():
        with transaction(sessions) as session:
            claim.close(session, second)

    with ThreadPoolExecutor(1) as thread, transaction(sessions) as session:
        claim.close(session, first)
        closing = thread.submit(close_the_second)
        until(lambda: is_somebody_waiting(sessions))
        session.commit()
        closing.result()

    assert state(sessions, notification_id) == "sent"


def test_a_batch_closed_while_planning_goes_on_does_not_finish_it(sessions, notification_id, monkeypatch):
    monkeypatch.setattr(plan, "PAGE_SIZE", 1)
    [work] = claimed(sessions, notification_id)
    with transaction(sessions) as session:
        claim.close(session, work)
    assert state(sessions, notification_id) == "planning"

    [work] = claimed(sessions, notification_id)
    with transaction(sessions) as session:
        claim.close(session, work)
    assert claimed(sessions, notification_id) == []

    assert state(sessions, notification_id) == "sent", "its last page was empty, and nothing was open any more"


def test_everybody_is_tried_once_no_first_batch_is_open(sessions, notification_id):
    def is_tried():
        with transaction(sessions) as session:
            return is_everybody_tried(session, notification_id)

    unplanned = is_tried()
    first, second = claimed(sessions, notification_id)
    begun = is_tried()
    with transaction(sessions) as session:
        session.execute(
            text("UPDATE push_delivery_batches SET attempt = 2 WHERE id = :id"), {"id": second.batch_id}
        )
        claim.close(session, first)

    assert (unplanned, begun, is_tried()) == (False, False, True)
