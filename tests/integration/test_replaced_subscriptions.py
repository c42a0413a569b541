"""What becomes of a subscription that its browser renews: `POST /subscriptions/{id}/replace`, asked over HTTP."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import func

from app.db.session import transaction
from app.ids import new_id
from app.keyring.service import Keyring
from app.models import DEFAULT_TENANT_ID, VapidKey
from app.push import keys as push_keys
from tests.support.api import SECRET_KEY
from tests.support.browser_keys import a_subscription, browser_keys
from tests.support.replacing import ALICE, Service, serving

NOW = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def service(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(module_database_url, tmp_path_factory.mktemp("data")) as service:
        yield service


def test_a_service_worker_replaces_a_subscription_with_nothing_but_its_secret(service: Service) -> None:
    old, subscription_id = service.subscribe(ALICE, topics=["blog"])
    new = next(service.numbers)

    answer = service.replace(subscription_id, old, new)

    told, row = answer.json(), service.row(subscription_id)
    assert answer.status_code == 200
    assert told["id"] == subscription_id
    assert (told["user_id"], told["topics"], told["enabled"]) == ("alice", ["blog"], True)
    assert (row.endpoint, row.p256dh, row.auth) == (
        *(a_subscription(new)["endpoint"], browser_keys(new).p256dh),
        browser_keys(new).auth,
    )
    assert (service.holders_of(old), service.holders_of(new)) == ([], [subscription_id])


def test_it_comes_back_to_life_but_is_not_established(service: Service) -> None:
    old, subscription_id = service.subscribe(ALICE)
    service.mark(
        subscription_id,
        **{"enabled": False, "gone_at": func.now(), "key_mismatch_at": NOW, "quarantined_at": NOW},
        **{"quarantine_id": new_id(), "failure_count": 3, "first_accepted_at": NOW, "last_used": NOW},
        **{"last_failure_at": NOW, "last_failure_reason": "gone"},
    )

    service.replace(subscription_id, old, next(service.numbers))

    row = service.row(subscription_id)
    marks = (row.gone_at, row.key_mismatch_at, row.quarantined_at, row.quarantine_id, row.first_accepted_at)
    assert marks == (None,) * 5
    assert (row.enabled, row.failure_count, row.last_failure_at, row.last_failure_reason) == (True, 0, None, None)
    assert row.last_used == NOW


@pytest.mark.parametrize(("said", "is_enabled"), [({}, False), ({"enabled": True}, True)])
@pytest.mark.parametrize(
    "marks", [{"gone_at": None}, {"enabled": False, "gone_at": func.now()}], ids=["alive", "called gone"]
)
def test_what_its_user_has_switched_off_stays_off_unless_the_request_says_otherwise(
    service: Service, marks: dict[str, Any], said: dict[str, Any], is_enabled: bool
) -> None:
    old, subscription_id = service.subscribe(ALICE)
    service.mark(subscription_id, **marks)
    service.client.put(f"/subscriptions/{subscription_id}/", json={"enabled": False}, headers=ALICE)

    answer = service.replace(subscription_id, old, next(service.numbers), **said)

    assert answer.json()["enabled"] is is_enabled


def test_topics_that_are_given_replace_the_stored_ones(service: Service) -> None:
    old, subscription_id = service.subscribe(ALICE, topics=["blog"])

    answer = service.replace(subscription_id, old, next(service.numbers), topics=["news"])

    assert answer.json()["topics"] == ["news"]


def test_the_same_again_is_answered_the_same(service: Service) -> None:
    old, subscription_id = service.subscribe(ALICE, topics=["blog"])
    new = next(service.numbers)

    first, again = (service.replace(subscription_id, old, new) for _ in range(2))

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() | {"updated_at": None} == again.json() | {"updated_at": None}


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"old_auth": None}, "invalid"),
        ({"old_auth": "too short"}, "invalid"),
        ({"keys": {"p256dh": "BA", "auth": "A"}}, "invalid"),
        ({"endpoint": "https://fcm.googleapis.com.evil.example/a"}, "endpoint-not-allowed"),
        ({"application_server_key": browser_keys(1).p256dh}, "unknown-application-server-key"),
    ],
)
def test_what_no_browser_gives_is_refused(service: Service, members: dict[str, Any], code: str) -> None:
    old, subscription_id = service.subscribe(ALICE)

    answer = service.replace(subscription_id, old, next(service.numbers), **members)

    assert (answer.status_code, answer.json()["type"]) == (422, f"/problems/{code}")
    assert service.holders_of(old) == [subscription_id]


def test_new_keys_for_the_same_endpoint_leave_it_established(service: Service) -> None:
    old, subscription_id = service.subscribe(ALICE)
    service.mark(subscription_id, first_accepted_at=NOW)
    new = next(service.numbers)

    answer = service.replace(subscription_id, old, old, keys=browser_keys(new).members)

    row = service.row(subscription_id)
    assert answer.status_code == 200
    assert (row.auth, row.first_accepted_at) == (browser_keys(new).auth, NOW)


def test_it_keeps_its_vapid_key_unless_the_browser_names_another(service: Service) -> None:
    old, subscription_id = service.subscribe(ALICE)
    before = service.row(subscription_id).vapid_key_id
    with transaction(service.sessions) as session:
        added = Keyring(SECRET_KEY).add(session, DEFAULT_TENANT_ID, push_keys.VapidKey.generate())
        added_id, public_key = added.id, added.public_key
    new, newer = next(service.numbers), next(service.numbers)

    service.replace(subscription_id, old, new)
    unnamed = service.row(subscription_id)
    service.replace(subscription_id, new, newer, application_server_key=public_key)
    named = service.row(subscription_id)

    assert (unnamed.vapid_key_id, unnamed.key_is_assumed) == (before, True)
    assert (named.vapid_key_id, named.key_is_assumed) == (added_id, False)


def test_one_whose_vapid_key_is_retired_is_taken_to_have_the_active_one(service: Service) -> None:
    old, subscription_id = service.subscribe(ALICE)
    with transaction(service.sessions) as session:
        retired = session.get_one(VapidKey, service.row(subscription_id).vapid_key_id)
        added_id = Keyring(SECRET_KEY).add(session, DEFAULT_TENANT_ID, push_keys.VapidKey.generate()).id
        retired.retired_at = NOW

    answer = service.replace(subscription_id, old, next(service.numbers))

    assert (answer.status_code, service.row(subscription_id).vapid_key_id) == (200, added_id)
