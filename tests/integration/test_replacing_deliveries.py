"""A subscription is replaced while something is on its way to it: the new endpoint gets it, under its own key."""

from collections.abc import Callable
from uuid import UUID

import pytest

from app.db.session import SessionFactory, transaction
from app.delivery import claim, plan, record
from app.delivery.claim import Work
from app.keyring.service import active_key
from app.models import DEFAULT_TENANT_ID, DeliveryStatus
from app.push import keys as push_keys
from app.push.outcome import Outcome, Reason, Verdict
from app.simulator import Simulator
from tests.support.delivery import NOTHING_INLINE, claim_batch, finish_with_a_worker, send
from tests.support.ledger import adds_up
from tests.support.replacing import replaced_by
from tests.support.senders import ACCEPTED, GONE

REFUSED = Outcome(Verdict.KEY_MISMATCH, Reason.KEY_MISMATCH, 403)
LATER = Outcome(Verdict.RETRY, Reason.PUSH_SERVICE_ERROR, 503, retry_after_seconds=0)


@pytest.fixture
def planned(pipeline, sessions: SessionFactory) -> Callable[[], UUID]:
    """Plan a broadcast and leave it to the workers; returns its batch."""

    def plan_one() -> UUID:
        sent = send(pipeline, limits=NOTHING_INLINE)
        with transaction(sessions) as session:
            (batch_id,) = plan.plan_page(session, sent.notification.id).batch_ids
        return batch_id

    return plan_one


@pytest.mark.parametrize("service", ["fcm", "mozilla"])
def test_what_is_pending_reaches_the_new_endpoint(
    pipeline, sessions, subscribe, planned, push_service: Simulator, service: str
) -> None:
    (subscriber,) = subscribe(service="fcm")
    with transaction(sessions) as session:
        public_key = active_key(session, DEFAULT_TENANT_ID).public_key
    renewed = push_service.subscribe(service, host="localhost", application_server_key=public_key)
    planned()

    replaced_by(subscriber, renewed)
    finish_with_a_worker(pipeline)

    assert (len(subscriber.browser.received), len(renewed.received)) == (0, 1)
    assert subscriber.log.status == DeliveryStatus.SENT
    assert subscriber.row.first_accepted_at is not None
    assert adds_up(sessions)


def test_it_is_signed_with_the_key_that_the_renewed_one_was_made_with(
    pipeline, sessions, subscribe, planned, push_service: Simulator
) -> None:
    (subscriber,) = subscribe()
    with transaction(sessions) as session:
        added = pipeline.keyring.add(session, DEFAULT_TENANT_ID, push_keys.VapidKey.generate()).public_key
    renewed = push_service.subscribe(application_server_key=added)
    planned()

    replaced_by(subscriber, renewed, application_server_key=added)
    finish_with_a_worker(pipeline)

    assert (len(subscriber.browser.received), len(renewed.received)) == (0, 1)
    assert subscriber.log.status == DeliveryStatus.SENT
    assert adds_up(sessions)


@pytest.mark.parametrize("outcome", [ACCEPTED, GONE, REFUSED])
def test_an_answer_to_the_old_endpoint_says_nothing_about_the_new_one(
    sessions, subscribe, planned, push_service: Simulator, outcome: Outcome
) -> None:
    (subscriber,) = subscribe()
    with transaction(sessions) as session:
        work = claim_batch(session, planned())
    assert isinstance(work, Work)
    replaced_by(subscriber, push_service.subscribe())

    with transaction(sessions) as session:
        record.write(session, work, [(recipient, outcome) for recipient in work.recipients])
        claim.close(session, work)

    row = subscriber.row
    assert (row.first_accepted_at, row.gone_at, row.key_mismatch_at, row.enabled) == (None, None, None, True)
    assert adds_up(sessions)


def test_what_the_old_endpoint_put_off_is_tried_at_the_new_one(
    pipeline, sessions, subscribe, planned, push_service: Simulator
) -> None:
    (subscriber,) = subscribe()
    with transaction(sessions) as session:
        work = claim_batch(session, planned())
    assert isinstance(work, Work)
    renewed = push_service.subscribe()

    replaced_by(subscriber, renewed)
    with transaction(sessions) as session:
        record.write(session, work, [(recipient, LATER) for recipient in work.recipients])
        claim.close(session, work)
    finish_with_a_worker(pipeline)

    assert len(renewed.received) == 1
    assert adds_up(sessions)
