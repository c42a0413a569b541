"""What a batch costs must not grow with its notification, also while statistics know nothing of it."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from app.db.session import database_now, transaction
from app.delivery import ledger, plan, record
from app.keyring.service import Keyring
from app.models import DEFAULT_TENANT_ID, DeliveryStatus, NotificationState
from tests.support.delivery import claim_batch
from tests.support.ledger import add_notification
from tests.support.senders import ACCEPTED

AUDIENCE = 20_000  # as many as make an index cheaper than reading everything
BATCH_SIZE = 100  # and as few as make more batches than statistics remember one by one

SUBSCRIBE = """
    INSERT INTO push_subscriptions
        (id, tenant_id, endpoint, endpoint_hash, endpoint_host, p256dh, auth, vapid_key_id, created_at)
    SELECT gen_random_uuid(), :tenant_id, 'https://push.example/' || n, sha256(n::text::bytea), 'push.example',
           'p256dh', 'auth', :key_id, now() - interval '1 hour'
    FROM generate_series(1, :audience) AS n
"""
ROWS_READ = """
    SELECT sum(seq_tup_read + idx_tup_fetch)::int FROM pg_stat_xact_user_tables
    WHERE relname LIKE 'push_delivery_logs_%'
"""

UPDATES = """
    SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables
    WHERE relname ~ '^push_(delivery_logs_|subscriptions$)' AND n_tup_upd > 0
"""


def rows_read(session):
    """The ledger's rows read on this connection and not reported yet."""
    return session.scalar(text(ROWS_READ))


def take(session, batch_id):
    work = claim_batch(session, batch_id)
    assert work is not None
    return work


def accept(session):
    return add_notification(
        session, state=NotificationState.PLANNING, accepted_at=database_now(session) - timedelta(minutes=30)
    )


def plan_all(session, notification_id):
    batch_ids = []
    is_last = False
    while not is_last:
        page = plan.plan_page(session, notification_id)
        batch_ids += page.batch_ids
        is_last = page.is_last
    return batch_ids


@pytest.fixture(scope="module")
def sessions(module_sessions):
    """Over one database for all tests here: each takes a batch of its own, and leaves the others' as they are."""
    return module_sessions


@pytest.fixture(scope="module")
def new_batch_ids(sessions):
    """The batches of a broadcast planned after the ledger was last analyzed, which knew only an earlier one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "PAGE_SIZE", AUDIENCE + 1)
        patch.setattr(plan, "BATCH_SIZE", BATCH_SIZE)
        with transaction(sessions) as session:
            key = Keyring("secret").synchronise(session, None)
            audience = {"tenant_id": DEFAULT_TENANT_ID, "key_id": key.id, "audience": AUDIENCE}
            session.execute(text(SUBSCRIBE), audience)
            plan_all(session, accept(session))
        with transaction(sessions) as session:
            session.execute(text("ANALYZE push_delivery_logs"))
            return plan_all(session, accept(session))


@pytest.fixture
def new_batch_id(new_batch_ids):
    """One that no other test has."""
    return new_batch_ids.pop()


def test_claiming_reads_the_batch_and_not_the_notification(sessions, new_batch_id):
    with transaction(sessions) as session:
        before = rows_read(session)

        work = take(session, new_batch_id)

        assert len(work.recipients) == BATCH_SIZE
        assert rows_read(session) - before == BATCH_SIZE


def test_recording_reads_the_rows_recorded_and_not_the_notification(sessions, new_batch_id):
    with transaction(sessions) as session:
        work = take(session, new_batch_id)
    entries = [ledger.Entry(each.subscription_id, DeliveryStatus.SENT, tries=1) for each in work.recipients]

    with transaction(sessions) as session:
        before = rows_read(session)

        changed = ledger.write(
            session, work.notification.id, entries, planned_at=work.planned_at, batch_id=work.batch_id
        )

        assert changed == {DeliveryStatus.SENT: BATCH_SIZE}
        assert rows_read(session) - before <= 2 * BATCH_SIZE  # to find each and to change it


def test_recording_writes_to_no_index(sessions, new_batch_id):
    with transaction(sessions) as session:
        work = take(session, new_batch_id)

    with transaction(sessions) as session:
        record.write(session, work, [(each, ACCEPTED) for each in work.recipients])

        updates = session.execute(text(UPDATES)).all()

    assert {table for table, *_ in updates} == {"push_subscriptions", f"push_delivery_logs_{work.planned_at:%Y_%m}"}
    assert all(in_place >= 0.9 * rows for _, rows, in_place in updates), updates
