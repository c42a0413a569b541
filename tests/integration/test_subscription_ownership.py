"""Shared computers and foreign hands: whose subscription is it, asked over HTTP."""

import hashlib
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient

from app.db.session import SessionFactory, transaction
from app.ids import new_id
from app.keyring.service import Keyring
from app.models import DEFAULT_TENANT_ID, ApiKey, Subscription, Tenant
from app.push import keys as push_keys
from app.tenants import api_keys
from app.tenants.scopes import Scope
from tests.support.api import SECRET_KEY, Credentials
from tests.support.browser_keys import a_subscription, browser_keys
from tests.support.delivery import live_rows
from tests.support.ledger import add_tenant

AUTH = browser_keys().auth
OTHER_KEYS = browser_keys(2).members
OTHER_TENANTS_API_KEY = "api-key-of-the-other-tenant"


@pytest.fixture
def other_tenant(client: TestClient, sessions: SessionFactory) -> dict[str, str]:
    """The headers of a service of another tenant."""
    with transaction(sessions) as session:
        tenant_id = add_tenant(session, "other")
        key_hash = hashlib.sha256(OTHER_TENANTS_API_KEY.encode()).digest()
        values = {"name": "other", "prefix": "api", "key_hash": key_hash, "scopes": list(Scope)}
        session.add(ApiKey(id=new_id(), tenant_id=tenant_id, **values))
        Keyring(SECRET_KEY).add(session, tenant_id, push_keys.VapidKey.generate())
    return {"X-API-Key": OTHER_TENANTS_API_KEY}


UPDATED, HANDED_OVER, REFUSED = 200, 201, 409


@pytest.mark.parametrize(
    ("owner", "caller", "with_same_keys", "with_other_keys", "owner_afterwards"),
    [
        ("alice", "alice", UPDATED, UPDATED, "alice"),
        ("alice", "bob", HANDED_OVER, REFUSED, "bob"),
        ("alice", "nobody", HANDED_OVER, REFUSED, None),
        ("alice", "service", UPDATED, UPDATED, "alice"),
        ("nobody", "bob", UPDATED, REFUSED, "bob"),
        ("nobody", "nobody", UPDATED, REFUSED, None),
        ("nobody", "service", UPDATED, UPDATED, None),
        ("service", "bob", UPDATED, REFUSED, "bob"),
        ("service", "nobody", UPDATED, REFUSED, None),
        ("service", "service", UPDATED, UPDATED, None),
    ],
)
def test_an_endpoint_that_is_stored_already(
    client: TestClient,
    sessions: SessionFactory,
    credentials: Credentials,
    owner: str,
    caller: str,
    with_same_keys: int,
    with_other_keys: int,
    owner_afterwards: str | None,
) -> None:
    stored = client.post("/subscriptions/", json=a_subscription(topics=["mine"]), headers=credentials[owner]).json()

    refused_or_new_keys = client.post(
        "/subscriptions/", json=a_subscription(keys=OTHER_KEYS), headers=credentials[caller]
    )
    (between,) = live_rows(sessions)
    same_keys = browser_keys().members if with_other_keys == REFUSED else OTHER_KEYS
    answer = client.post("/subscriptions/", json=a_subscription(keys=same_keys), headers=credentials[caller])

    (row,) = live_rows(sessions)
    assert (refused_or_new_keys.status_code, answer.status_code) == (with_other_keys, with_same_keys)
    assert (between.id, between.auth == AUTH) == (UUID(stored["id"]), with_other_keys == REFUSED)
    assert row.user_id == answer.json()["user_id"] == owner_afterwards
    assert (str(row.id) == stored["id"]) == (with_same_keys == UPDATED)
    assert row.topics == (["mine"] if with_same_keys == UPDATED else [])


def test_a_handed_over_subscription_is_out_of_its_first_owners_hands(
    client: TestClient, sessions: SessionFactory, credentials: Credentials
) -> None:
    first = client.post("/subscriptions/", json=a_subscription(), headers=credentials["alice"]).json()
    second = client.post("/subscriptions/", json=a_subscription(), headers=credentials["bob"]).json()

    answers = [
        client.get(f"/subscriptions/{subscription['id']}/", headers=credentials["alice"]).status_code
        for subscription in (first, second)
    ]

    assert answers == [404, 404]
    with transaction(sessions) as session:
        old, new = (session.get_one(Subscription, UUID(row["id"])) for row in (first, second))
    assert old.deleted_at is not None
    assert old.vapid_key_id == new.vapid_key_id


def test_who_shows_the_secret_may_change_the_keys_of_a_subscription_without_a_user(
    client: TestClient, sessions: SessionFactory, credentials: Credentials
) -> None:
    client.post("/subscriptions/", json=a_subscription(), headers=credentials["nobody"])

    answer = client.post(
        "/subscriptions/",
        json=a_subscription(keys=OTHER_KEYS),
        headers=credentials["nobody"] | {"X-Subscription-Auth": f"{AUTH}=="},
    )

    assert (answer.status_code, answer.json()["auth"]) == (200, OTHER_KEYS["auth"])
    assert len(live_rows(sessions)) == 1


def test_a_refusal_says_what_to_do_and_shows_nothing(client: TestClient, credentials: Credentials) -> None:
    stored = client.post("/subscriptions/", json=a_subscription(), headers=credentials["alice"]).json()

    answer = client.post("/subscriptions/", json=a_subscription(keys=OTHER_KEYS), headers=credentials["bob"])

    assert answer.json()["type"] == "/problems/endpoint-taken"
    assert "subscribe again" in answer.json()["detail"]
    assert not any(secret in answer.text for secret in (stored["id"], stored["endpoint"], AUTH))


def test_another_spelling_of_somebodys_endpoint_is_still_theirs(
    client: TestClient, credentials: Credentials, sessions: SessionFactory
) -> None:
    endpoint = "https://updates.push.services.mozilla.com/wpush/v2/gAAA-b"
    client.post("/subscriptions/", json=a_subscription(endpoint=endpoint), headers=credentials["alice"])

    answers = [
        client.post(
            "/subscriptions/",
            json=a_subscription(endpoint=endpoint.replace(plain, spelt), keys=OTHER_KEYS),
            headers=credentials["bob"],
        )
        for plain, spelt in (("gAAA-b", "%67AAA-b"), ("gAAA-b", "gAAA%2Db"), ("gAAA-b", "gAAA-b?"))
    ]

    assert [answer.status_code for answer in answers] == [409, 409, 409]
    assert len(live_rows(sessions)) == 1


def test_the_body_cannot_name_a_user(client: TestClient, credentials: Credentials) -> None:
    for caller, user_id in (("bob", "bob"), ("nobody", None), ("service", None)):
        answer = client.post(
            "/subscriptions/",
            json=a_subscription(endpoint=f"https://fcm.googleapis.com/{caller}", user_id="alice"),
            headers=credentials[caller],
        )

        assert answer.json()["user_id"] == user_id


def test_a_change_that_names_a_user_is_refused(
    client: TestClient, sessions: SessionFactory, credentials: Credentials
) -> None:
    stored = client.post("/subscriptions/", json=a_subscription(), headers=credentials["alice"]).json()

    answers = [
        client.put(
            f"/subscriptions/{stored['id']}/", json={"topics": ["a"], **member}, headers=credentials["alice"]
        )
        for member in ({"user_id": "bob"}, {"tenant_id": str(uuid4())}, {"endpoint": stored["endpoint"] + "x"})
    ]

    (row,) = live_rows(sessions)
    assert [answer.status_code for answer in answers] == [422, 422, 422]
    assert (row.user_id, row.topics, row.endpoint) == ("alice", [], stored["endpoint"])


SECRET = {"X-Subscription-Auth": AUTH}
WRONG_SECRET = {"X-Subscription-Auth": browser_keys(2).auth}


@pytest.mark.parametrize(
    ("owner", "caller", "shown", "is_allowed"),
    [
        ("alice", "alice", {}, True),
        ("alice", "service", {}, True),
        ("alice", "bob", {}, False),
        ("alice", "nobody", {}, False),
        ("alice", "bob", SECRET, False),
        ("alice", "nobody", SECRET, False),
        ("nobody", "service", {}, True),
        ("nobody", "nobody", SECRET, True),
        ("nobody", "bob", SECRET, True),
        ("nobody", "nobody", {}, False),
        ("nobody", "bob", {}, False),
        ("nobody", "nobody", WRONG_SECRET, False),
        ("nobody", "nobody", {"X-Subscription-Auth": "é"}, False),
    ],
)
def test_who_may_read_change_and_delete(
    client: TestClient,
    sessions: SessionFactory,
    credentials: Credentials,
    owner: str,
    caller: str,
    shown: dict[str, str],
    is_allowed: bool,
) -> None:
    stored = client.post("/subscriptions/", json=a_subscription(), headers=credentials[owner]).json()
    address = f"/subscriptions/{stored['id']}/"
    headers = {name: value.encode("utf-8") for name, value in (credentials[caller] | shown).items()}

    read = client.get(address, headers=headers)
    changed = client.put(address, json={"topics": ["theirs"]}, headers=headers)
    topics = [row.topics for row in live_rows(sessions)]
    deleted = client.delete(address, headers=headers)

    statuses = [read.status_code, changed.status_code, deleted.status_code]
    assert statuses == ([200, 200, 204] if is_allowed else [404, 404, 404])
    assert topics == [["theirs"] if is_allowed else []]
    assert len(live_rows(sessions)) == (0 if is_allowed else 1)


def test_somebody_elses_subscription_looks_like_none(client: TestClient, credentials: Credentials) -> None:
    stored = client.post("/subscriptions/", json=a_subscription(), headers=credentials["alice"]).json()

    foreign, none = (
        client.get(f"/subscriptions/{subscription_id}/", headers=credentials["bob"]).json()
        for subscription_id in (stored["id"], uuid4())
    )

    assert foreign | {"request_id": None} == none | {"request_id": None}


def test_tenants_share_nothing_not_even_the_same_browser(
    client: TestClient, sessions: SessionFactory, credentials: Credentials, other_tenant: dict[str, str]
) -> None:
    ours = client.post(
        "/subscriptions/", json=a_subscription(topics=["ours"]), headers=credentials["service"]
    ).json()
    theirs = client.post("/subscriptions/", json=a_subscription(topics=["theirs"]), headers=other_tenant)

    attempts = [
        client.request(method, f"/subscriptions/{ours['id']}/", json=body, headers=other_tenant | SECRET)
        for method, body in (("GET", None), ("PUT", {"topics": []}), ("DELETE", None))
    ]

    assert theirs.status_code == 201
    assert [attempt.status_code for attempt in attempts] == [404, 404, 404]
    assert {(row.tenant_id == DEFAULT_TENANT_ID, *row.topics) for row in live_rows(sessions)} == {
        (True, "ours"),
        (False, "theirs"),
    }


def test_a_key_that_may_only_read_does_not_see_the_secret_that_could_replace_it(
    client: TestClient, sessions: SessionFactory, credentials: Credentials
) -> None:
    created = client.post("/subscriptions/", json=a_subscription(), headers=credentials["alice"]).json()
    with transaction(sessions) as session:
        tenant = session.get_one(Tenant, DEFAULT_TENANT_ID)
        key, _ = api_keys.create(session, tenant, "reader", scopes=[Scope.READ])

    path = f"/subscriptions/{created['id']}/"
    of_owner, of_service, of_reader = (
        client.get(path, headers=headers).json()["auth"]
        for headers in (credentials["alice"], credentials["service"], {"X-API-Key": key})
    )

    assert (of_owner, of_service, of_reader) == (AUTH, AUTH, None)
