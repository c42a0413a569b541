"""`/users/…/` over HTTP: who may, whatever a user id looks like, and what an export holds."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy import insert, select

from app.db.session import SessionFactory, transaction
from app.delivery.partitions import ensure_partitions
from app.ids import new_id
from app.main import create_app
from app.models import DEFAULT_TENANT_ID, DeliveryLog, NotificationState, Receipt, Subscription
from app.users import service as users
from tests.support.api import SERVICE_HEADERS, bearer, build_settings, make_token
from tests.support.browser_keys import a_subscription, browser_keys
from tests.support.ledger import add_notification

Headers = dict[str, str]
SERVICE = dict(SERVICE_HEADERS)


def user(name: str) -> Headers:
    return bearer(make_token(user_id=name, token_type="access"))


@dataclass
class Service:
    """One app for all of these tests; each user is of one test."""

    client: TestClient
    sessions: SessionFactory

    def subscribe(self, user_id: str, number: int, **members: Any) -> UUID:
        answer = self.client.post("/subscriptions/", json=a_subscription(number, **members), headers=user(user_id))
        assert answer.status_code == 201, answer.text
        return UUID(answer.json()["id"])

    def erase(self, path: str, headers: Headers = SERVICE) -> Response:
        answer: Response = self.client.delete(f"/users/{path}", headers=headers)
        return answer

    def export(self, path: str, headers: Headers = SERVICE, **query: str) -> Response:
        answer: Response = self.client.get(f"/users/{path}/export/", headers=headers, params=query)
        return answer

    def deliver(self, subscription_ids: list[UUID], day: int, **columns: Any) -> UUID:
        """Store a notification of a day in May 2024, delivered to these; return its id."""
        at = datetime(2024, 5, day, tzinfo=UTC)
        with transaction(self.sessions) as session:
            ensure_partitions(session, at)
            columns = {"state": NotificationState.SENT, "created_at": at, "accepted_at": at, **columns}
            notification_id = add_notification(session, **columns)
            rows = [
                {
                    **{"planned_at": at, "notification_id": notification_id, "subscription_id": subscription_id},
                    **{"id": new_id(), "tenant_id": DEFAULT_TENANT_ID, "batch_id": new_id(), "status": "sent"},
                    **{"deadline": at, "sent_at": at, "push_message_id": "message-1"},
                }
                for subscription_id in subscription_ids
            ]
            session.execute(insert(DeliveryLog), rows)
        return notification_id


@pytest.fixture(scope="module")
def service(
    module_database_url: str, module_sessions: SessionFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    settings = build_settings(database_url=module_database_url, data_dir=tmp_path_factory.mktemp("data"))
    with TestClient(create_app(settings)) as client:
        yield Service(client, module_sessions)


@pytest.mark.parametrize("ask", [Service.erase, lambda service, *who: service.export(*who)])
def test_a_token_reaches_nobodys_data_not_even_its_own_users(
    service: Service, ask: Callable[..., Response]
) -> None:
    answers = [ask(service, "alice", headers) for headers in (user("alice"), user("bob"), {})]

    assert [answer.status_code for answer in answers] == [403, 403, 401]


@pytest.mark.parametrize(
    ("number", "user_id", "path"),
    [
        (1, "plain", "plain"),
        (2, "a/b", "a%2Fb"),
        (4, "ends/", "ends%2F"),
        (5, "jürgen@example.com", "j%C3%BCrgen%40example.com"),
        (6, "50% off?#", "50%25%20off%3F%23"),
        (7, "x/export", "x%2Fexport"),
        (8, "a%2Fb", "a%252Fb"),
    ],
)
def test_a_user_is_found_whatever_the_id_looks_like(service: Service, number: int, user_id: str, path: str) -> None:
    subscription_id = service.subscribe(user_id, number)

    exported = service.export(path)
    with_slash, without = service.erase(f"{path}/"), service.erase(path)

    assert exported.json()["user_id"] == user_id
    assert [row["id"] for row in exported.json()["subscriptions"]] == [str(subscription_id)]
    assert (with_slash.status_code, with_slash.json()["subscriptions"]) == (200, 1)
    assert (without.status_code, set(without.json().values())) == (200, {0})


@pytest.mark.parametrize("path", ["%00", "x" * 256, "%ED%A0%80"])
def test_what_cannot_be_a_user_id_is_nobody(service: Service, path: str) -> None:
    answers = [service.erase(path), service.export(path)]

    assert all(answer.status_code in {404, 422} for answer in answers)


@pytest.mark.parametrize("path", ["", "/", "/users/", "a/b/", "somebody%2Fexport/also/", "a%FF/"])
def test_a_path_that_names_nobody_erases_nobody(service: Service, path: str) -> None:
    subscription_id = service.subscribe("a", 20)

    answer = service.erase(path)

    assert answer.status_code == 404
    with transaction(service.sessions) as session:
        assert session.get_one(Subscription, subscription_id).deleted_at is None
    service.erase("a")


def test_other_methods_are_refused_with_those_it_takes_also_behind_an_encoded_slash(service: Service) -> None:
    answer = service.client.post("/users/a%2Fb/", headers=SERVICE)

    assert (answer.status_code, answer.headers["Allow"]) == (405, "DELETE, OPTIONS")


def test_an_encoded_slash_in_front_of_export_belongs_to_the_user_id(service: Service) -> None:
    answer = service.client.get("/users/somebody%2Fexport", headers=SERVICE)

    assert answer.status_code in {404, 405}


def test_an_export_has_all_that_is_kept_but_no_secret(service: Service) -> None:
    kept, left = service.subscribe("erin", 30, topics=["blog"]), service.subscribe("erin", 31)
    service.client.delete(f"/subscriptions/{left}/", headers=user("erin"))
    his = service.subscribe("frank", 32)
    for_her = service.deliver([kept], 1, target_user_ids=["erin", "frank"], title="For two")
    for_one = service.deliver([left], 2, target_subscription_ids=[left, his])
    for_all = service.deliver([kept, his], 3)
    with transaction(service.sessions) as session:
        when = datetime(2024, 5, 4, tzinfo=UTC)
        for subscription_id in (kept, his):
            values = {"id": new_id(), "tenant_id": DEFAULT_TENANT_ID, "planned_at": when, "event": "clicked"}
            values |= {"notification_id": for_all, "subscription_id": subscription_id, "occurred_at": when}
            session.add(Receipt(**values))

    answer = service.export("erin")

    told = answer.json()
    assert [row["id"] for row in told["subscriptions"]] == [str(kept), str(left)]
    assert told["subscriptions"][0]["topics"] == ["blog"]
    assert told["subscriptions"][1]["deleted_at"] is not None
    assert [row["notification_id"] for row in told["deliveries"]] == [
        *(str(for_all), str(for_one)),
        str(for_her),
    ]
    assert [row["id"] for row in told["notifications"]] == [str(for_one), str(for_her)]
    assert told["notifications"][1]["title"] == "For two"
    assert [row["subscription_id"] for row in told["receipts"]] == [str(kept)]
    assert told["next_cursor"] is None
    assert "auth" not in told["subscriptions"][0]
    assert browser_keys(30).auth not in answer.text
    assert not any(name in answer.text for name in ("frank", str(his)))


def test_many_deliveries_come_page_by_page(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "DELIVERIES_AT_ONCE", 2)
    own = [service.subscribe("grace", number) for number in (40, 41)]
    expected = [service.deliver(own, day, target_user_ids=["grace"]) for day in (5, 6, 6)]

    pages = [service.export("grace").json()]
    while pages[-1]["next_cursor"] is not None:
        pages.append(service.export("grace", cursor=pages[-1]["next_cursor"]).json())

    found = [(row["notification_id"], row["subscription_id"]) for page in pages for row in page["deliveries"]]
    assert [len(page["deliveries"]) for page in pages] == [2, 2, 2]
    assert set(found) == {(str(notification), str(each)) for notification in expected for each in own}
    assert found[-1][0] == str(expected[0])
    assert [(len(page["subscriptions"]), len(page["notifications"])) for page in pages] == [(2, 3), (0, 0), (0, 0)]


@pytest.mark.parametrize("cursor", ["", "x", "é", "A" * 54, "_" * 54, "A" * 101, "A" * 53 + "="])
def test_what_is_no_cursor_is_refused(service: Service, cursor: str) -> None:
    answer = service.export("grace", cursor=cursor)

    assert answer.status_code in ({422} if cursor != "A" * 54 else {200, 422})


def test_an_erasure_leaves_everybody_else_as_they_are(service: Service) -> None:
    hers, his = service.subscribe("heidi", 50), service.subscribe("ivan", 51)
    service.deliver([hers, his], 7, target_user_ids=["heidi", "ivan"])
    before = service.export("ivan").json()

    answer = service.erase("heidi")

    assert answer.json() == {"subscriptions": 1, "deliveries": 1, "receipts": 0, "skips": 0, "notifications": 1}
    assert json.dumps(service.export("ivan").json()) == json.dumps(before)
    with transaction(service.sessions) as session:
        stored = session.scalars(select(DeliveryLog.push_message_id).where(DeliveryLog.subscription_id == his))
        assert list(stored) == ["message-1"]
