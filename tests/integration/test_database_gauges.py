"""The gauges about the database: what they count, and that one process at a time does it."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from alembic import command
from sqlalchemy import func, insert, text, update
from sqlalchemy.dialects.postgresql import dialect
from sqlalchemy.exc import OperationalError

from app.db.session import SessionFactory, create_sessions, transaction
from app.delivery import service_states
from app.delivery.lanes import Lane
from app.delivery.pace import Pause, PauseReason
from app.ids import new_id
from app.keyring import retiring
from app.keyring.service import Keyring
from app.models import (
    DEFAULT_TENANT_ID,
    BatchState,
    DeliveryBatch,
    NotificationState,
    Subscription,
    VapidKey,
)
from app.observability import metrics
from app.workers.database_gauges import (
    ACTIVE_SUBSCRIPTIONS,
    PENDING_DELIVERIES,
    DatabaseGauges,
    count_active_subscriptions,
    pending_deliveries,
)
from tests.support.databases import StoppablePostgres, alembic_config, create_database, dispose
from tests.support.keyring import add_subscriptions
from tests.support.ledger import add_notification
from tests.support.metric_samples import Samples


@pytest.fixture
def gauges() -> Iterator[DatabaseGauges]:
    job = DatabaseGauges()
    yield job
    job.close()


@pytest.fixture
def vapid_key_id(sessions: SessionFactory) -> UUID:
    key_id = new_id()
    with transaction(sessions) as session:
        session.execute(
            insert(VapidKey).values(
                id=key_id, tenant_id=DEFAULT_TENANT_ID, public_key="B", private_key_sealed=b"", is_active=True
            )
        )
    return key_id


def subscribe(sessions: SessionFactory, vapid_key_id: UUID, **columns: Any) -> None:
    with transaction(sessions) as session:
        add_subscriptions(session, vapid_key_id, **columns)


def notify(sessions: SessionFactory, state: NotificationState) -> UUID:
    with transaction(sessions) as session:
        return add_notification(session, state=state)


def plan_batch(
    sessions: SessionFactory,
    vapid_key_id: UUID,
    size: int,
    state: BatchState = BatchState.READY,
    *,
    due: timedelta = timedelta(0),
) -> None:
    notification_id = notify(sessions, NotificationState.SENDING)
    is_leased = state is BatchState.LEASED
    with transaction(sessions) as session:
        session.execute(
            insert(DeliveryBatch).values(
                id=new_id(),
                tenant_id=DEFAULT_TENANT_ID,
                notification_id=notification_id,
                planned_at=func.now(),
                endpoint_host="fcm.googleapis.com",
                vapid_key_id=vapid_key_id,
                size=size,
                state=state,
                not_before=func.now() + due,
                lease_token=new_id() if is_leased else None,
                leased_until=func.now() + timedelta(minutes=1) if is_leased else None,
            )
        )


def scraped() -> Samples:
    return Samples(metrics.render()[0].decode())


def test_active_is_enabled_not_gone_and_not_deleted(sessions: SessionFactory, vapid_key_id: UUID) -> None:
    subscribe(sessions, vapid_key_id)
    subscribe(sessions, vapid_key_id)
    subscribe(sessions, vapid_key_id, enabled=False)
    subscribe(sessions, vapid_key_id, gone_at=func.now())
    subscribe(sessions, vapid_key_id, deleted_at=func.now())

    with transaction(sessions) as session:
        assert count_active_subscriptions(session) == 2


def test_pending_is_what_open_batches_hold(sessions: SessionFactory, vapid_key_id: UUID) -> None:
    plan_batch(sessions, vapid_key_id, 500)
    plan_batch(sessions, vapid_key_id, 20, BatchState.LEASED)
    plan_batch(sessions, vapid_key_id, 7, due=timedelta(hours=1))
    plan_batch(sessions, vapid_key_id, 300, BatchState.CLOSED)

    with transaction(sessions) as session:
        total, _ = pending_deliveries(session)

    assert total == 527


def test_the_oldest_pending_is_the_one_due_longest(sessions: SessionFactory, vapid_key_id: UUID) -> None:
    plan_batch(sessions, vapid_key_id, 1, due=-timedelta(minutes=5))
    plan_batch(sessions, vapid_key_id, 1, due=-timedelta(minutes=2))
    plan_batch(sessions, vapid_key_id, 1, BatchState.CLOSED, due=-timedelta(hours=5))

    with transaction(sessions) as session:
        _, waited = pending_deliveries(session)

    assert timedelta(minutes=5) <= waited < timedelta(minutes=6)


def test_a_delivery_that_waits_for_its_next_try_is_not_due(sessions: SessionFactory, vapid_key_id: UUID) -> None:
    plan_batch(sessions, vapid_key_id, 1, due=timedelta(hours=1))

    with transaction(sessions) as session:
        assert pending_deliveries(session) == (1, timedelta(0))


def test_an_empty_database_has_nothing_pending(sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        assert pending_deliveries(session) == (0, timedelta(0))


def test_one_run_sets_all_gauges(sessions: SessionFactory, vapid_key_id: UUID, gauges: DatabaseGauges) -> None:
    subscribe(sessions, vapid_key_id)
    plan_batch(sessions, vapid_key_id, 40)
    notify(sessions, NotificationState.SENT)

    gauges(sessions)

    found = scraped()
    assert found.value("push_active_subscriptions") == 1
    assert found.value("push_pending_deliveries") == 40
    assert found.value("push_unfinished_notifications", state="sending") == 1
    assert found.value("push_unfinished_notifications", state="planning") == 0
    assert found.value("push_database_up") == 1
    assert found.value("push_database_gauges_refreshed_timestamp_seconds")


def test_paused_push_services_are_counted_by_reason_until_their_time_is_over(
    sessions: SessionFactory, vapid_key_id: UUID, gauges: DatabaseGauges
) -> None:
    for host, reason in (("web.push.apple.com", "throttled"), ("dm3p.notify.windows.com", "troubled")):
        lane = Lane(DEFAULT_TENANT_ID, host, vapid_key_id)
        with transaction(sessions) as session:
            service_states.pause(session, lane, Pause(PauseReason(reason), 600.0))

    gauges(sessions)
    paused = scraped()
    with transaction(sessions) as session:
        session.execute(text("UPDATE push_service_states SET paused_until = now()"))
    gauges.refresh(sessions)

    assert paused.value("push_services_paused", service="apple", reason="throttled") == 1
    assert paused.value("push_services_paused", service="wns", reason="troubled") == 1
    assert paused.value("push_services_paused", service="fcm", reason="throttled") == 0
    assert scraped().value("push_services_paused", service="apple", reason="throttled") == 0


def test_dependents_are_counted_by_key_in_the_state_it_is_in(
    sessions: SessionFactory,
) -> None:
    def shown() -> dict[str, float]:
        job = DatabaseGauges()
        job.refresh(sessions)
        samples = scraped()
        return {
            f"{name} {state}": value
            for name, key in (("old", old), ("new", new))
            for state in ("active", "signing", "retired")
            if (value := samples.value("push_vapid_key_subscriptions", key=key.public_key[:8], state=state))
            is not None
        }

    keyring = Keyring("secret")
    with transaction(sessions) as session:
        old = new = keyring.synchronise(session, None)
    subscribe(sessions, old.id)
    subscribe(sessions, old.id)
    first = shown()
    with transaction(sessions) as session:
        new = keyring.rotate(session, DEFAULT_TENANT_ID)
    subscribe(sessions, new.id)
    rotated = shown()
    with transaction(sessions) as session:
        retiring.retire(session, old.id, lose_at_most=2)
    retired = shown()
    with transaction(sessions) as session:
        session.execute(
            update(Subscription).where(Subscription.vapid_key_id == old.id).values(deleted_at=func.now())
        )
    unused = shown()

    assert first["old active"] == 2
    assert rotated == {"old signing": 2, "new active": 1}
    assert retired == {"old retired": 2, "new active": 1}
    assert unused == {"new active": 1}


def test_counts_are_answered_from_indexes(database_url: str, sessions: SessionFactory, vapid_key_id: UUID) -> None:
    """In a database with much history: most subscriptions gone, nearly all batches closed."""
    notification_id = notify(sessions, NotificationState.SENT)
    with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(
            "INSERT INTO push_subscriptions"
            " (id, tenant_id, endpoint, endpoint_hash, endpoint_host, p256dh, auth, vapid_key_id, gone_at)"
            " SELECT gen_random_uuid(), %(tenant)s, 'e', sha256(n::text::bytea), 'h', 'p', 'a', %(key)s,"
            " CASE WHEN n > 2000 THEN now() END FROM generate_series(1, 10000) AS n",
            {"tenant": str(DEFAULT_TENANT_ID), "key": str(vapid_key_id)},
        )
        cursor.execute(
            "INSERT INTO push_delivery_batches (id, tenant_id, notification_id, planned_at, endpoint_host,"
            " vapid_key_id, size, state, not_before)"
            " SELECT gen_random_uuid(), %(tenant)s, %(notification)s, now(), 'h', %(key)s, 500,"
            " CASE WHEN n > 100 THEN 'closed' ELSE 'ready' END, now() FROM generate_series(1, 10000) AS n",
            {"tenant": str(DEFAULT_TENANT_ID), "notification": str(notification_id), "key": str(vapid_key_id)},
        )
        cursor.execute("VACUUM ANALYZE push_subscriptions, push_delivery_batches")
        plans = []
        for statement in (ACTIVE_SUBSCRIPTIONS, PENDING_DELIVERIES):
            cursor.execute(
                "EXPLAIN " + str(statement.compile(dialect=dialect(), compile_kwargs={"literal_binds": True}))
            )
            plans.append(str(cursor.fetchall()))

    assert "ix_push_subscriptions_active" in plans[0]
    assert "ix_push_delivery_batches_" in plans[1], "either of those that hold open batches only"


def test_those_who_do_not_lead_count_nothing(
    sessions: SessionFactory, other_process: SessionFactory, gauges: DatabaseGauges
) -> None:
    gauges(sessions)
    refreshed = scraped().value("push_database_gauges_refreshed_timestamp_seconds")
    standby = DatabaseGauges()

    standby(other_process)

    assert scraped().value("push_database_gauges_refreshed_timestamp_seconds") == refreshed


def test_a_database_that_goes_and_comes_back_is_noticed(
    stoppable_postgres: StoppablePostgres, gauges: DatabaseGauges
) -> None:
    url = create_database(stoppable_postgres.url, "gauges")
    command.upgrade(alembic_config(url), "head")
    sessions = create_sessions(url)
    gauges(sessions)
    with transaction(sessions) as session:
        session.execute(text("CHECKPOINT"))  # these servers forget their last moments when killed

    stoppable_postgres.stop()
    with pytest.raises(OperationalError):
        gauges(sessions)
    while_away = scraped().value("push_database_up")
    stoppable_postgres.start()
    gauges(sessions)

    assert while_away == 0
    assert scraped().value("push_database_up") == 1
    dispose(sessions)
