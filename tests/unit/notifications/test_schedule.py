from datetime import timedelta

import pytest
from sqlalchemy import func, select

from app.db.session import database_now, transaction
from app.models import Notification, NotificationState
from app.notifications import schedule
from app.notifications.schedule import release_due
from tests.support.ledger import add_notification


@pytest.fixture
def store(sessions):
    """Store a notification scheduled so many seconds from now, by the database's clock; returns its id."""

    def store(seconds, *, state=NotificationState.SCHEDULED):
        with transaction(sessions) as session:
            return add_notification(
                session,
                state=state,
                accepted_at=func.now() - timedelta(days=1),
                scheduled_at=func.now() + timedelta(seconds=seconds),
            )

    return store


def states(sessions):
    with transaction(sessions) as session:
        return {row.id: row.state for row in session.execute(select(Notification.id, Notification.state))}


def test_what_is_due_is_released_and_counts_as_accepted_now(sessions, store):
    due, coming, cancelled = store(-1), store(60), store(-1, state=NotificationState.CANCELLED)

    with transaction(sessions) as session:
        now = database_now(session)
        released = release_due(session)

    assert released == 1
    assert states(sessions) == {due: "planning", coming: "scheduled", cancelled: "cancelled"}
    with transaction(sessions) as session:
        row = session.get_one(Notification, due)
        assert (row.accepted_at, row.plan_after) == (now, now)


def test_the_longest_due_are_released_first_and_so_many_at_once(sessions, store, monkeypatch):
    monkeypatch.setattr(schedule, "RELEASED_AT_ONCE", 2)
    last, first, second = store(-1), store(-30), store(-20)

    with transaction(sessions) as session:
        released = release_due(session)

    assert released == 2
    assert states(sessions) == {first: "planning", second: "planning", last: "scheduled"}


def test_workers_that_look_at_once_release_each_of_them_once(sessions, store):
    store(-1)

    with transaction(sessions) as one, transaction(sessions) as another:
        released = [release_due(one), release_due(another)]

    assert released == [1, 0]
