"""Which key a subscription is taken to have been made with, and how sure that is."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from app.db.session import transaction
from app.keyring import retiring
from app.keyring.service import Keyring
from app.models import DEFAULT_TENANT_ID, Subscription
from app.push.keys import VapidKey
from app.subscriptions.made_with import MadeWith, UnknownApplicationServerKey, made_with

NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def keys(module_sessions):
    """A retired key, an older one that still signs, and the active one, by name."""
    keyring = Keyring("secret")
    with transaction(module_sessions) as session:
        made = [keyring.add(session, DEFAULT_TENANT_ID, VapidKey.generate()) for _ in range(3)]
        retiring.retire(session, made[0].id)
    return dict(zip(("retired", "signing", "active"), made, strict=True))


def stored(key, *, key_is_assumed=True, first_accepted_at=None):
    return Subscription(vapid_key_id=key.id, key_is_assumed=key_is_assumed, first_accepted_at=first_accepted_at)


@pytest.mark.parametrize("name", ["signing", "active"])
def test_a_key_that_is_named_is_no_assumption(module_sessions, keys, name):
    with transaction(module_sessions) as session:
        found = made_with(session, DEFAULT_TENANT_ID, keys[name].public_key, stored(keys["active"]))

    assert found == MadeWith(keys[name].id, is_assumed=False)


def test_without_a_word_it_is_assumed_to_be_the_active_one(module_sessions, keys):
    with transaction(module_sessions) as session:
        found = made_with(session, DEFAULT_TENANT_ID, None)

    assert found == MadeWith(keys["active"].id, is_assumed=True)


@pytest.mark.parametrize(
    ("known", "is_assumed"),
    [({}, True), ({"key_is_assumed": False}, False), ({"first_accepted_at": NOW}, False)],
)
def test_what_is_stored_stays_as_sure_as_it_was(module_sessions, keys, known, is_assumed):
    with transaction(module_sessions) as session:
        found = made_with(session, DEFAULT_TENANT_ID, None, stored(keys["signing"], **known))

    assert found == MadeWith(keys["signing"].id, is_assumed)


def test_whose_assumed_key_is_retired_gets_the_active_one(module_sessions, keys):
    with transaction(module_sessions) as session:
        found = made_with(session, DEFAULT_TENANT_ID, None, stored(keys["retired"]))

    assert found == MadeWith(keys["active"].id, is_assumed=True)


@pytest.mark.parametrize("known", [{"key_is_assumed": False}, {"first_accepted_at": NOW}])
def test_who_surely_has_a_retired_key_is_told_to_subscribe_anew(module_sessions, keys, known):
    with transaction(module_sessions) as session, pytest.raises(UnknownApplicationServerKey, match="Unsubscribe"):
        made_with(session, DEFAULT_TENANT_ID, None, stored(keys["retired"], **known))


@pytest.mark.parametrize("whose", ["another tenant's", "nobody's"])
def test_a_key_of_others_is_refused(module_sessions, keys, whose):
    tenant_id, named = (
        (uuid4(), keys["active"].public_key)
        if whose == "another tenant's"
        else (DEFAULT_TENANT_ID, VapidKey.generate().public)
    )

    with transaction(module_sessions) as session, pytest.raises(UnknownApplicationServerKey):
        made_with(session, tenant_id, named)
