"""A browser subscribes, changes its mind, leaves, comes back; and what is refused on the way."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from app.db.session import SessionFactory, transaction
from app.keyring.service import Keyring
from app.models import DEFAULT_TENANT_ID, Subscription, VapidKey
from app.push import keys as push_keys
from app.push.keys import encode_base64url
from tests.support.api import SECRET_KEY
from tests.support.browser_keys import OFF_THE_CURVE, a_flat_subscription, a_subscription, browser_keys

UserHeaders = Callable[[str], dict[str, str]]
NOW = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.fixture
def alice(user_headers: UserHeaders) -> dict[str, str]:
    return user_headers("alice")


def stored(sessions: SessionFactory, subscription_id: str) -> Subscription:
    with transaction(sessions) as session:
        return session.get_one(Subscription, UUID(subscription_id))


def mark(sessions: SessionFactory, subscription_id: str, **values: Any) -> None:
    with transaction(sessions) as session:
        session.execute(update(Subscription).where(Subscription.id == UUID(subscription_id)).values(**values))


def count(sessions: SessionFactory) -> int:
    with transaction(sessions) as session:
        return session.scalars(select(func.count()).select_from(Subscription)).one()


def active_key_id(sessions: SessionFactory) -> UUID:
    with transaction(sessions) as session:
        return session.scalars(select(VapidKey.id).where(VapidKey.is_active)).one()


def rotate_keys(sessions: SessionFactory) -> VapidKey:
    """Make a new key the active one, and return it."""
    with transaction(sessions) as session:
        return Keyring(SECRET_KEY).add(session, DEFAULT_TENANT_ID, push_keys.VapidKey.generate())


def test_a_browser_subscribes_changes_its_topics_and_leaves(client: TestClient, alice: dict[str, str]) -> None:
    created = client.post("/subscriptions/", json=a_subscription(topics=["blog"]), headers=alice)
    address = created.headers["Location"]
    read = client.get(address, headers=alice)
    changed = client.put(address, json={"topics": ["news", "blog"], "enabled": False}, headers=alice)
    left = client.delete(address, headers=alice)
    afterwards = [client.request(method, address, headers=alice) for method in ("GET", "DELETE")]

    assert created.status_code == 201
    subscription = created.json()
    assert subscription.pop("created") is True
    assert subscription == read.json()
    assert address == f"/subscriptions/{subscription['id']}/"
    assert subscription | {"created_at": None, "updated_at": None} == {
        "id": subscription["id"],
        "endpoint": a_subscription()["endpoint"],
        **browser_keys().members,
        "topics": ["blog"],
        "enabled": True,
        "user_id": "alice",
        "created_at": None,
        "updated_at": None,
        "last_used": None,
        "gone_at": None,
    }
    assert changed.json() == subscription | {
        "topics": ["news", "blog"],
        "enabled": False,
        "updated_at": changed.json()["updated_at"],
    }
    assert changed.json()["updated_at"] > subscription["updated_at"]
    assert (left.status_code, left.content) == (204, b"")
    assert [answer.status_code for answer in afterwards] == [404, 404]


def test_subscribing_again_updates_and_keeps_the_topics(
    client: TestClient, sessions: SessionFactory, alice: dict[str, str]
) -> None:
    first = client.post("/subscriptions", json=a_subscription(topics=["blog"]), headers=alice).json()

    again = client.post("/subscriptions", json=a_flat_subscription(), headers=alice)
    with_topics = client.post("/subscriptions/", json=a_flat_subscription(topics=["news"]), headers=alice)

    assert (again.status_code, with_topics.status_code) == (200, 200)
    assert "Location" not in again.headers
    assert (again.json()["id"], again.json()["created"]) == (first["id"], False)
    assert again.json()["topics"] == ["blog"]
    assert with_topics.json()["topics"] == ["news"]
    assert count(sessions) == 1


def test_each_half_can_be_changed_without_the_other(client: TestClient, alice: dict[str, str]) -> None:
    address = client.post("/subscriptions/", json=a_subscription(topics=["a"]), headers=alice).headers["Location"]

    disabled = client.put(address, json={"enabled": False}, headers=alice).json()
    without_topics = client.put(address, json={"topics": []}, headers=alice).json()

    assert (disabled["topics"], disabled["enabled"]) == (["a"], False)
    assert (without_topics["topics"], without_topics["enabled"]) == ([], False)


def test_a_deleted_subscription_stays_for_the_statistics_and_makes_room_for_a_new_one(
    client: TestClient, sessions: SessionFactory, alice: dict[str, str]
) -> None:
    first = client.post("/subscriptions/", json=a_subscription(), headers=alice).json()
    client.delete(f"/subscriptions/{first['id']}", headers=alice)

    second = client.post("/subscriptions/", json=a_subscription(), headers=alice)

    assert second.status_code == 201
    assert second.json()["id"] != first["id"]
    assert stored(sessions, first["id"]).deleted_at is not None
    assert count(sessions) == 2


def test_a_gone_subscription_is_not_enabled_by_wishing_but_by_subscribing_again(
    client: TestClient, sessions: SessionFactory, alice: dict[str, str]
) -> None:
    subscription_id = client.post("/subscriptions/", json=a_subscription(), headers=alice).json()["id"]
    address = f"/subscriptions/{subscription_id}/"
    mark(
        sessions,
        subscription_id,
        enabled=False,
        gone_at=NOW,
        key_mismatch_at=NOW,
        quarantined_at=NOW,
        failure_count=3,
        last_failure_at=NOW,
        last_failure_reason="gone",
        first_accepted_at=NOW,
    )

    wished = client.put(address, json={"enabled": True, "topics": ["x"]}, headers=alice)
    unaffected = client.get(address, headers=alice).json()
    other_topics = client.put(address, json={"topics": ["y"]}, headers=alice)
    again = client.post("/subscriptions/", json=a_subscription(), headers=alice)

    assert (wished.status_code, wished.json()["type"]) == (409, "/problems/subscription-gone")
    assert "ubscribe again" in wished.json()["detail"]
    assert (unaffected["topics"], unaffected["enabled"], unaffected["gone_at"]) == (
        [],
        False,
        "2024-05-01T00:00:00Z",
    )
    assert other_topics.status_code == 200
    assert (again.status_code, again.json()["enabled"], again.json()["gone_at"]) == (200, True, None)
    row = stored(sessions, subscription_id)
    assert (row.key_mismatch_at, row.quarantined_at, row.last_failure_at, row.last_failure_reason) == (None,) * 4
    assert row.failure_count == 0
    assert row.first_accepted_at == NOW


def test_a_browser_can_subscribe_without_being_enabled(client: TestClient, alice: dict[str, str]) -> None:
    answer = client.post("/subscriptions/", json=a_subscription(enabled=False), headers=alice)

    assert answer.json()["enabled"] is False


def test_a_subscription_knows_the_key_it_was_made_with(
    client: TestClient, sessions: SessionFactory, alice: dict[str, str]
) -> None:
    old_key_id = active_key_id(sessions)
    first = client.post("/subscriptions/", json=a_subscription(1), headers=alice).json()
    new_key = rotate_keys(sessions)

    client.post("/subscriptions/", json=a_subscription(1), headers=alice)
    second = client.post("/subscriptions/", json=a_subscription(2), headers=alice).json()

    assert stored(sessions, first["id"]).vapid_key_id == old_key_id
    assert stored(sessions, second["id"]).vapid_key_id == new_key.id


def test_a_browser_names_the_key_it_subscribed_with(
    client: TestClient, sessions: SessionFactory, alice: dict[str, str]
) -> None:
    old_key = client.get("/vapid/public-key").json()["public_key"]
    old_key_id = active_key_id(sessions)
    rotate_keys(sessions)

    answer = client.post(
        "/subscriptions/", json=a_subscription(application_server_key=f"{old_key}="), headers=alice
    )

    assert stored(sessions, answer.json()["id"]).vapid_key_id == old_key_id


def test_an_acceptance_under_one_key_says_nothing_about_another(
    client: TestClient, sessions: SessionFactory, alice: dict[str, str]
) -> None:
    subscription_id = client.post("/subscriptions/", json=a_subscription(), headers=alice).json()["id"]
    mark(sessions, subscription_id, first_accepted_at=NOW)
    new_key = rotate_keys(sessions)

    client.post("/subscriptions/", json=a_subscription(application_server_key=new_key.public_key), headers=alice)

    row = stored(sessions, subscription_id)
    assert (row.vapid_key_id, row.first_accepted_at) == (new_key.id, None)


def test_a_key_that_is_not_ours_or_retired_is_refused(
    client: TestClient, sessions: SessionFactory, alice: dict[str, str]
) -> None:
    retired = client.get("/vapid/public-key").json()["public_key"]
    rotate_keys(sessions)
    with transaction(sessions) as session:
        session.execute(update(VapidKey).where(VapidKey.public_key == retired).values(retired_at=NOW))

    for key in (browser_keys(7).p256dh, retired):
        answer = client.post("/subscriptions/", json=a_subscription(application_server_key=key), headers=alice)

        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/unknown-application-server-key")
    assert count(sessions) == 0


@pytest.mark.parametrize(
    ("endpoint", "kept", "host"),
    [
        ("HTTPS://Web.Push.Apple.com:443/Qx", "https://web.push.apple.com/Qx", "web.push.apple.com"),
        ("http://127.0.0.1:8765/a", "http://127.0.0.1:8765/a", "127.0.0.1:8765"),
        ("https://[::1]:8765/a", "https://[::1]:8765/a", "[::1]:8765"),
    ],
)
def test_an_endpoint_is_kept_in_one_form_with_its_push_service(
    client: TestClient, sessions: SessionFactory, alice: dict[str, str], endpoint: str, kept: str, host: str
) -> None:
    created = client.post("/subscriptions/", json=a_subscription(endpoint=endpoint), headers=alice).json()
    again = client.post("/subscriptions/", json=a_subscription(endpoint=kept), headers=alice)

    row = stored(sessions, created["id"])
    assert (row.endpoint, row.endpoint_host) == (kept, host)
    assert (again.status_code, again.json()["id"]) == (200, created["id"])


KEYS = browser_keys().members


BAD_SUBSCRIPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("endpoint", {"endpoint": "http://updates.push.services.mozilla.com/a"}),
    ("endpoint", {"endpoint": "https://push.example.net/a"}),
    ("endpoint", {"endpoint": "https://fcm.googleapis.com.example/a"}),
    ("endpoint", {"endpoint": "https://user@fcm.googleapis.com/a"}),
    ("endpoint", {"endpoint": "https://fcm.googleapis.com:8443/a"}),
    ("endpoint", {"endpoint": "https://fcm.googleapis.com/" + "a" * 10_240}),
    ("endpoint", {"endpoint": "https://fcm.googleapis.com/\x00"}),
    ("endpoint", {"endpoint": None}),
    ("keys/p256dh", {"keys": KEYS | {"p256dh": OFF_THE_CURVE}}),
    ("keys/auth", {"keys": KEYS | {"auth": encode_base64url(bytes(15))}}),
    ("keys", {"keys": None}),
    ("topics", {"topics": [f"topic-{number}" for number in range(1000)]}),
    ("topics/0", {"topics": ["a\x00b"]}),
    ("enabled", {"enabled": "true"}),
    ("expirationTime", {"expirationTime": "2024-02-30"}),
]


def test_a_bad_subscription_is_a_problem_that_names_the_member_and_stores_nothing(
    client: TestClient, sessions: SessionFactory, alice: dict[str, str]
) -> None:
    for named, members in BAD_SUBSCRIPTIONS:
        answer = client.post("/subscriptions/", json=a_subscription(**members), headers=alice)

        assert answer.status_code == 422, members
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert named in answer.json()["detail"] + answer.json()["type"]
        assert KEYS["auth"] not in answer.text
    assert count(sessions) == 0


def test_a_bad_change_changes_nothing(client: TestClient, alice: dict[str, str]) -> None:
    before = client.post("/subscriptions/", json=a_subscription(topics=["blog"]), headers=alice).json()
    address = f"/subscriptions/{before['id']}/"
    bad_changes: list[Any] = [{}, {"enabled": 1}, {"topics": "x"}, {"user_id": "bob"}, {"topics": [""]}, []]

    answers = [client.put(address, json=change, headers=alice) for change in bad_changes]

    assert [answer.status_code for answer in answers] == [422] * len(bad_changes)
    assert client.get(address, headers=alice).json() | {"created": True} == before


def test_an_id_that_is_none_is_a_problem(client: TestClient, alice: dict[str, str]) -> None:
    malformed = client.get("/subscriptions/42/", headers=alice)
    unknown = client.get(f"/subscriptions/{uuid4()}/", headers=alice)

    assert (malformed.status_code, unknown.status_code) == (422, 404)
    assert unknown.json()["type"] == "/problems/subscription-not-found"


def test_subscribing_is_rate_limited_and_wants_credentials(client: TestClient, alice: dict[str, str]) -> None:
    known = client.post("/subscriptions/", json=a_subscription(), headers=alice)
    unknown = client.post("/subscriptions/", json=a_subscription())

    assert "X-RateLimit-Remaining" in known.headers
    assert unknown.status_code == 401
