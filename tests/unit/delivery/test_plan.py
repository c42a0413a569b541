import time
from uuid import RFC_4122, UUID

import pytest
from sqlalchemy import select

from app.db.session import transaction
from app.delivery import plan
from app.models import DeliveryBatch, DeliveryLog, Notification
from tests.support.delivery import NOTHING_INLINE, send


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr(plan, "PAGE_SIZE", 2)


def plan_all(pipeline):
    """Let a worker plan until nothing is left; return the notifications' ids in the order of their pages."""
    pages: list[UUID] = []
    while True:
        with transaction(pipeline.sessions) as session:
            notification_id = plan.next_to_plan(session)
            if notification_id is None:
                return pages
            plan.plan_page(session, notification_id)
            pages.append(notification_id)


def test_a_small_notification_does_not_wait_until_a_large_one_is_planned(pipeline, subscribe):
    subscribe(6)
    subscribe(1, topics=["news"])
    large = send(pipeline, limits=NOTHING_INLINE).notification.id
    with transaction(pipeline.sessions) as session:
        plan.plan_page(session, large)
    small = send(pipeline, topics=["news"], limits=NOTHING_INLINE).notification.id

    pages = plan_all(pipeline)

    assert pages == [small, large, large, large]


def test_everybody_is_planned_once_though_the_audience_ends_with_a_page(pipeline, subscribe):
    subscribe(4)
    sent = send(pipeline, limits=NOTHING_INLINE)

    pages = plan_all(pipeline)

    with transaction(pipeline.sessions) as session:
        assert session.get_one(Notification, sent.notification.id).targeted == 4
    assert len(pages) == 3


def test_a_page_makes_full_batches_of_one_push_service_each(pipeline, subscribe, monkeypatch):
    monkeypatch.setattr(plan, "PAGE_SIZE", 20)
    monkeypatch.setattr(plan, "BATCH_SIZE", 3)
    here = subscribe(4) + subscribe(3)
    there = subscribe(2, host="127.0.0.2")
    sent = send(pipeline, limits=NOTHING_INLINE)

    plan_all(pipeline)

    with transaction(pipeline.sessions) as session:
        batches = session.scalars(select(DeliveryBatch)).all()
        rows = session.scalars(select(DeliveryLog)).all()
    hosts = {
        subscriber.id: subscriber.browser.subscription["endpoint"].split("/")[2] for subscriber in here + there
    }
    assert sorted(batch.size for batch in batches) == [1, 2, 3, 3]
    for batch in batches:
        members = [row for row in rows if row.batch_id == batch.id]
        assert len(members) == batch.size
        assert {hosts[row.subscription_id] for row in members} == {batch.endpoint_host}
    assert {row.notification_id for row in rows} == {sent.notification.id}


def test_planned_ids_are_of_version_seven_and_of_now(pipeline, subscribe):
    subscribe(2)
    before = time.time_ns() // 1_000_000
    send(pipeline, limits=NOTHING_INLINE)

    plan_all(pipeline)

    with transaction(pipeline.sessions) as session:
        ids = [*session.scalars(select(DeliveryBatch.id)), *session.scalars(select(DeliveryLog.id))]
    after = time.time_ns() // 1_000_000
    assert len(set(ids)) == 3
    assert {(each.version, each.variant) for each in ids} == {(7, RFC_4122)}
    assert all(before <= each.int >> 80 <= after for each in ids)
