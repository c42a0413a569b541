"""Retiring a key loses nobody by accident, and can be taken back."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, select

from app.db.session import transaction
from app.ids import new_id
from app.keyring import retiring
from app.keyring.dependents import Dependents, KeyState, dependents_of, status_of_keys
from app.keyring.retiring import KeyInUse, KeyIsActive, KeyNotFound
from app.keyring.sealing import CannotUnseal
from app.keyring.service import Keyring
from app.models import DEFAULT_TENANT_ID, Quarantine, Subscription, VapidKey
from app.push.keys import VapidKey as KeyPair
from app.subscriptions.made_with import UnknownApplicationServerKey, made_with
from tests.support.delivery import is_somebody_waiting
from tests.support.keyring import add_subscriptions
from tests.support.waiting import until


@pytest.fixture
def keys(sessions):
    """An old key and, made later, the active one."""
    with transaction(sessions) as session:
        keyring = Keyring("secret")
        return [keyring.add(session, DEFAULT_TENANT_ID, KeyPair.generate()) for _ in range(2)]


def is_retired(sessions, key):
    with transaction(sessions) as session:
        return session.get_one(VapidKey, key.id).retired_at is not None


def test_a_key_that_nobody_depends_on_is_retired_and_restored(sessions, keys):
    old, _ = keys

    with transaction(sessions) as session:
        lost = retiring.retire(session, old.id)
    was_retired = is_retired(sessions, old)
    with transaction(sessions) as session:
        again = retiring.retire(session, old.id)
        restored = [retiring.restore(session, Keyring("secret"), old.id) for _ in range(2)]

    assert (lost, again) == (Dependents(), None)
    assert was_retired
    assert restored == [True, False]
    assert not is_retired(sessions, old)


def test_the_active_key_is_not_retired(sessions, keys):
    _, active = keys

    with transaction(sessions) as session, pytest.raises(KeyIsActive, match="keys rotate"):
        retiring.retire(session, active.id, lose_at_most=1000)


def test_a_key_in_use_is_not_retired_unless_so_many_may_be_lost(sessions, keys):
    old, _ = keys
    with transaction(sessions) as session:
        add_subscriptions(session, old.id, 3)

    with transaction(sessions) as session, pytest.raises(KeyInUse, match="3 subscriptions") as refused:
        retiring.retire(session, old.id, lose_at_most=2)
    with transaction(sessions) as session:
        lost = retiring.retire(session, old.id, lose_at_most=3)

    assert refused.value.dependents == lost == Dependents(active=3)
    assert is_retired(sessions, old)


def test_who_may_come_back_is_counted_and_who_has_left_is_not(sessions, keys):
    old, _ = keys
    with transaction(sessions) as session:
        quarantines = [new_id() for _ in range(2)]
        for quarantine_id, ended_as in zip(quarantines, (None, "released"), strict=True):
            session.add(
                Quarantine(
                    id=quarantine_id,
                    tenant_id=DEFAULT_TENANT_ID,
                    endpoint_host="fcm.googleapis.com",
                    vapid_key_id=old.id,
                    gone_count=20,
                    tried_count=20,
                    ended_as=ended_as,
                    ended_at=func.now() if ended_as else None,
                )
            )
        session.flush()
        gone: dict[str, Any] = {"enabled": False, "gone_at": func.now()}
        add_subscriptions(session, old.id, last_used=func.now())
        add_subscriptions(session, old.id, last_used=func.now() - func.make_interval(0, 0, 0, 8))
        add_subscriptions(session, old.id, enabled=False)
        add_subscriptions(session, old.id, quarantine_id=quarantines[0], **gone)
        add_subscriptions(session, old.id, quarantine_id=quarantines[1], **gone)
        add_subscriptions(session, old.id, **gone)
        add_subscriptions(session, old.id, deleted_at=func.now())

        counted = dependents_of(session, old.id)
        [_, status] = status_of_keys(session)

    assert counted == status.dependents == Dependents(active=2, lately=1, dormant=2)
    assert (status.public_key, status.state, status.tenant) == (old.public_key, KeyState.SIGNING, "default")


def test_a_key_of_another_secret_key_is_not_restored(sessions, keys):
    old, _ = keys
    with transaction(sessions) as session:
        retiring.retire(session, old.id)

    with transaction(sessions) as session, pytest.raises(CannotUnseal):
        retiring.restore(session, Keyring("another"), old.id)

    assert is_retired(sessions, old)


def test_whoever_is_just_subscribing_with_a_key_is_waited_for_and_counted(sessions, keys):
    old, _ = keys

    def retire():
        with transaction(sessions) as session:
            retiring.retire(session, old.id)

    with ThreadPoolExecutor(1) as threads:
        with transaction(sessions) as session:
            key = made_with(session, DEFAULT_TENANT_ID, old.public_key)
            retirement = threads.submit(retire)
            until(lambda: is_somebody_waiting(sessions), "the retirement waits")
            add_subscriptions(session, key.key_id)

        with pytest.raises(KeyInUse, match="1 subscription"):
            retirement.result()
    assert not is_retired(sessions, old)


def test_nobody_slips_in_while_a_key_is_being_retired(sessions, keys):
    old, _ = keys

    def subscribe():
        with transaction(sessions) as session:
            key = made_with(session, DEFAULT_TENANT_ID, old.public_key)
            add_subscriptions(session, key.key_id)

    with ThreadPoolExecutor(1) as threads:
        with transaction(sessions) as session:
            retiring.retire(session, old.id)
            subscribing = threads.submit(subscribe)
            until(lambda: is_somebody_waiting(sessions), "the browser waits")

        with pytest.raises(UnknownApplicationServerKey):
            subscribing.result()
    with transaction(sessions) as session:
        assert session.scalars(select(func.count()).select_from(Subscription)).one() == 0


def test_a_key_is_found_by_its_first_characters(sessions, keys):
    old, active = keys
    other = f"{old.public_key[:10]}_like-a-wildcard"
    with transaction(sessions) as session:
        session.add(
            VapidKey(
                id=new_id(), tenant_id=DEFAULT_TENANT_ID, public_key=other, private_key_sealed=b"", is_active=False
            )
        )
        session.flush()

        found = [
            retiring.find_key(session, beginning).public_key
            for beginning in (active.public_key, f"{old.public_key[:12]}…", other[:11])
        ]
        refusals = []
        for beginning in (old.public_key[:5], old.public_key[:10], "B______"):
            with pytest.raises(KeyNotFound) as refused:
                retiring.find_key(session, beginning)
            refusals.append(str(refused.value))
        with pytest.raises(KeyNotFound):
            retiring.find_key(session, old.public_key, tenant="another")

    assert found == [active.public_key, old.public_key, other]
    assert "first 6 characters" in refusals[0]
    assert "Several keys" in refusals[1]
    assert "No key begins with B______" in refusals[2]
