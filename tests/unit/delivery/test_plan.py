from uuid import UUID

import pytest

from app.db.session import transaction
from app.delivery import plan
from app.models import Notification
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
