"""`python -m app.cli quarantine` while others go on: what they did stays, and nobody slips through."""

from datetime import UTC, datetime
from functools import partial

import pytest
from sqlalchemy import select

from app.db.session import transaction
from app.delivery import guard, quarantine
from app.models import DEFAULT_TENANT_ID, Subscription
from app.subscriptions import service
from app.subscriptions.ownership import Requester
from tests.support.losses import FCM, add_key, add_subscriptions, counted
from tests.support.quarantine_command import ACTIVE, ends, run, trip_the_guard


@pytest.fixture(autouse=True)
def environment(database_url, tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(quarantine, "ROWS_AT_ONCE", 10)


@pytest.fixture
def key_id(sessions):
    with transaction(sessions) as session:
        return add_key(session)


@pytest.fixture
def trip(sessions, key_id):
    return partial(trip_the_guard, sessions, key_id)


def test_an_answer_to_what_was_sent_before_does_not_take_a_restored_one_away(sessions, trip):
    """record.write marks only who has not changed since the batch was claimed."""
    began = datetime.now(UTC)
    quarantine_id = trip()

    run("restore", quarantine_id)

    assert counted(sessions, f"updated_at >= '{began.isoformat()}'") == 25


@pytest.mark.parametrize(("wish", "active"), [({"topics": ["news"]}, 25), ({"enabled": False}, 24)])
def test_only_who_was_switched_off_by_its_user_meanwhile_stays_off(sessions, trip, wish, active):
    quarantine_id = trip()
    with transaction(sessions) as session:
        subscription_id = session.scalars(select(Subscription.id).limit(1)).one()
        service.change(session, Requester(DEFAULT_TENANT_ID, is_service=True), subscription_id, **wish)

    run("restore", quarantine_id)

    assert counted(sessions, ACTIVE) == active


def test_who_comes_in_meanwhile_is_still_held(sessions, key_id, trip, monkeypatch):
    quarantine_id = trip()
    end_if_empty = quarantine.end_if_empty

    def meanwhile(session, *arguments):
        add_subscriptions(sessions, 3, key_id, gone_ago="1 second")
        guard.look(sessions)
        return end_if_empty(session, *arguments)

    monkeypatch.setattr(quarantine, "end_if_empty", meanwhile)

    result = run("restore", quarantine_id)

    assert result.exit_code == 1
    assert f"{FCM}: 3 came in meanwhile, and are still held." in result.output
    assert ends(sessions) == [(None, 25)]


def test_who_is_called_gone_while_others_are_restored_is_held_too(sessions, key_id, trip, monkeypatch):
    quarantine_id = trip()
    restore = quarantine.restore

    def meanwhile(*arguments):
        add_subscriptions(sessions, 1, key_id, gone_ago="0 seconds")
        return restore(*arguments)

    monkeypatch.setattr(quarantine, "restore", meanwhile)
    first = run("restore", quarantine_id)
    monkeypatch.setattr(quarantine, "restore", restore)
    again = run("restore", quarantine_id)

    assert (first.exit_code, again.exit_code) == (1, 0)
    assert f"{FCM}: 3 came in meanwhile, and are still held." in first.output, "one with each ten of them"
    assert (counted(sessions, ACTIVE), ends(sessions)) == (28, [("restored", 28)])


def test_who_was_called_gone_just_before_a_release_can_be_restored_too(sessions, key_id, trip):
    quarantine_id = trip()
    add_subscriptions(sessions, 3, key_id, gone_ago="0 seconds")

    run("release", quarantine_id)
    run("restore", quarantine_id)

    assert counted(sessions, ACTIVE) == 28
