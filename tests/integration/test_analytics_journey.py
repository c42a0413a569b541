"""A site asks how large its audience is and what became of what it sent; and what is refused on the way."""

import hashlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi.testclient import TestClient

from app import redis_connection
from app.analytics import cache
from app.db.session import SessionFactory, transaction
from app.ids import new_id
from app.models import ApiKey
from app.settings import Settings
from app.simulator import Simulator
from tests.support.api import SettingsFactory
from tests.support.ledger import FCM, MOZILLA, add_deliveries, add_subscription, add_tenant, utc
from tests.support.valkey import ValkeyServer

PATHS = ("/analytics/subscriptions/", "/analytics/deliveries/")
THEIR_KEY = "the-key-of-another-tenant"
THEIR_KEY_HASH = hashlib.sha256(THEIR_KEY.encode()).digest()
OCTOBER = {"date_from": "2026-10-01", "date_to": "2026-11-01"}

SENSELESS_RANGES = [
    ({"date_from": "2026-02-30"}, "date_from"),
    ({"date_to": "31.10.2026"}, "2026-10-31T08:00:00Z"),
    ({"date_from": ""}, "date_from"),
    ({"date_from": "2026-10-31", "date_to": "2026-10-31"}, "give the next day"),
    ({"date_from": "2026-11-01", "date_to": "2026-10-01"}, "before date_to"),
    ({"date_from": "2020-01-01", "date_to": "2026-01-01"}, "366 days"),
    ({"date_to": "0001-01-02"}, "date_from"),
    ({"date_from": "0001-01-01T00:00:00+14:00"}, "date_from"),
    ({"date_form": "2026-10-01"}, "date_form"),
    ({"date_from": "2026-10-01\x00"}, "date_from"),
]


def _their_key(tenant_id: UUID) -> ApiKey:
    return ApiKey(
        id=new_id(), tenant_id=tenant_id, name="theirs", prefix="their", key_hash=THEIR_KEY_HASH, scopes=["read"]
    )


@pytest.fixture
def settings(make_settings: SettingsFactory, database_url: str, push_ca_file: Path) -> Settings:
    return make_settings(database_url=database_url, push_ca_file=push_ca_file)


@pytest.fixture
def ask(client: TestClient, service_headers: dict[str, str]) -> Callable[..., Any]:
    """`ask("deliveries", type="blog")` returns the answer's JSON."""

    def ask(about: str, **params: str) -> Any:
        response = client.get(f"/analytics/{about}/", params=params, headers=service_headers)
        assert response.status_code == 200, response.text
        return response.json()

    return ask


def problem_type(response: httpx.Response) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    return str(response.json()["type"])


def test_what_is_sent_is_counted_and_who_is_gone_too(
    client: TestClient,
    ask: Callable[..., Any],
    push_service: Simulator,
    service_headers: dict[str, str],
    user_headers: Callable[[str], dict[str, str]],
) -> None:
    browsers = push_service.subscribe_many(3)
    browsers[0].unsubscribe()
    for number, browser in enumerate(browsers):
        subscription = browser.subscription | {"topics": ["blog"]}
        made = client.post("/subscriptions/", json=subscription, headers=user_headers(str(number)))
        assert made.status_code == 201
    message = {"title": "New post", "body": "Read it", "topics": ["blog"], "type": "blog-post"}

    sent = client.post("/notifications/send/", json=message, headers=service_headers)
    deliveries, subscriptions = ask("deliveries"), ask("subscriptions")

    assert sent.status_code == 200
    assert (deliveries["sent"], deliveries["expired"], deliveries["total"]) == (2, 1, 3)
    assert deliveries["acceptance_rate"] == pytest.approx(2 / 3)
    assert deliveries["delivery_rate"] == 0
    assert deliveries["by_type"][0]["type"] == "blog-post"
    assert deliveries["by_reason"] == [{"status": "expired", "reason": "gone", "count": 1}]
    assert sum(row["total"] for row in deliveries["by_day"]) == 3
    assert (subscriptions["total"], subscriptions["active"], subscriptions["disabled"]) == (3, 2, 1)
    assert (subscriptions["new"], subscriptions["gone"], subscriptions["deleted"]) == (3, 1, 0)
    [topic] = subscriptions["by_topic"]
    assert topic == {"topic": "blog", "total": 3, "active": 2, "disabled": 1}


def test_a_browser_that_leaves_is_counted_as_deleted(
    client: TestClient,
    ask: Callable[..., Any],
    push_service: Simulator,
    user_headers: Callable[[str], dict[str, str]],
) -> None:
    alice = user_headers("alice")
    made = client.post("/subscriptions/", json=push_service.subscribe().subscription, headers=alice)
    client.delete(made.headers["Location"], headers=alice)

    answer = ask("subscriptions")

    assert (answer["total"], answer["new"], answer["deleted"]) == (0, 1, 1)
    assert sum(row["deleted"] for row in answer["by_day"]) == 1


def test_an_empty_database_answers_with_thirty_days_of_nothing(ask: Callable[..., Any]) -> None:
    for answer in (ask("subscriptions"), ask("deliveries")):
        today = datetime.fromisoformat(answer["as_of"]).date()

        assert answer["total"] == 0
        assert len(answer["by_day"]) == 30
        assert answer["by_day"][-1]["day"] == today.isoformat()


def test_dates_datetimes_and_offsets_select_the_same_deliveries(
    ask: Callable[..., Any], sessions: SessionFactory
) -> None:
    with transaction(sessions) as session:
        for day in (30, 31):
            add_deliveries(session, planned_at=utc(2026, 10, day, 23, 30), counts={"sent": day})

    by_date = ask("deliveries", date_from="2026-10-31", date_to="2026-11-01")
    by_datetime = ask("deliveries", date_from="2026-10-31T00:00:00Z", date_to="2026-11-01T00:00:00")
    by_offset = ask("deliveries", date_from="2026-10-31T02:00:00+02:00", date_to="2026-10-31T20:00:00-04:00")
    in_berlin = ask("deliveries", date_from="2026-10-31T00:00:00+01:00", date_to="2026-11-01T00:00:00+01:00")

    assert by_date["total"] == by_datetime["total"] == by_offset["total"] == 31
    assert by_date["date_to"] == by_offset["date_to"] == "2026-11-01T00:00:00Z"
    assert in_berlin["total"] == 30, "half past eleven in London is the next day in Berlin"


def test_the_type_filter_and_the_range_narrow_the_answer(ask: Callable[..., Any], sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        add_deliveries(session, planned_at=utc(2026, 10, 5), counts={"sent": 1}, type="blog", host=FCM)
        add_deliveries(session, planned_at=utc(2026, 10, 6), counts={"sent": 2}, type="order", host=MOZILLA)
        add_deliveries(session, planned_at=utc(2026, 11, 1), counts={"sent": 4}, type="blog", host=FCM)

    answer = ask("deliveries", **OCTOBER, type="blog")

    assert (answer["type"], answer["total"]) == ("blog", 1)
    assert [row["push_service"] for row in answer["by_push_service"]] == [FCM]


def test_an_api_key_sees_its_own_tenant_only(
    client: TestClient, ask: Callable[..., Any], sessions: SessionFactory
) -> None:
    with transaction(sessions) as session:
        other = add_tenant(session, "other")
        session.add(_their_key(other))
        add_deliveries(session, other, planned_at=utc(2026, 10, 5), counts={"failed": 2}, reason="too-large")
        add_subscription(session, other, created_at=utc(2026, 10, 5))

    theirs = [client.get(path, params=OCTOBER, headers={"X-API-Key": THEIR_KEY}).json() for path in PATHS]

    assert [answer["total"] for answer in theirs] == [1, 2]
    assert ask("subscriptions", **OCTOBER)["total"] == 0
    assert ask("deliveries", **OCTOBER)["total"] == 0


def test_a_range_that_makes_no_sense_is_a_422_that_says_what_to_do(
    client: TestClient, service_headers: dict[str, str]
) -> None:
    for path in PATHS:
        for params, hint in SENSELESS_RANGES:
            response = client.get(path, params=params, headers=service_headers)

            assert response.status_code == 422, params
            assert problem_type(response) in {"/problems/invalid", "/problems/date-range-invalid"}
            assert hint in response.json()["detail"]


def test_a_type_that_no_notification_can_have_is_refused(
    client: TestClient, service_headers: dict[str, str]
) -> None:
    for wrong in ("", "a\x00b", "x" * 65):
        response = client.get("/analytics/deliveries/", params={"type": wrong}, headers=service_headers)

        assert response.status_code == 422, wrong
        assert "/type" in response.json()["detail"]


def test_only_services_may_ask(
    client: TestClient, user_headers: Callable[[str], dict[str, str]], anonymous_headers: dict[str, str]
) -> None:
    for path in PATHS:
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"X-API-Key": "wrong"}).status_code == 401
        assert client.get(path, headers=user_headers("alice")).status_code == 403
        assert client.get(path, headers=anonymous_headers).status_code == 403


def test_both_forms_of_the_path_answer(client: TestClient, service_headers: dict[str, str]) -> None:
    for path in PATHS:
        response = client.get(path.rstrip("/"), headers=service_headers, follow_redirects=False)

        assert response.status_code == 200


class TestLimited:
    @pytest.fixture
    def settings(self, make_settings: SettingsFactory, database_url: str) -> Settings:
        return make_settings(database_url=database_url, rate_limit_analytics="2/hour")

    def test_questions_are_limited_together(self, client: TestClient, service_headers: dict[str, str]) -> None:
        statuses = [client.get(path, headers=service_headers).status_code for path in (*PATHS, PATHS[0])]

        assert statuses == [200, 200, 429]


class TestWithRedis:
    @pytest.fixture
    def settings(
        self,
        make_settings: SettingsFactory,
        database_url: str,
        stoppable_valkey: ValkeyServer,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Settings:
        """A busy machine may take its time: nothing is forgotten meanwhile, and Redis is not taken for gone."""
        monkeypatch.setattr(cache, "TTL_SECONDS", 3600)
        monkeypatch.setattr(redis_connection, "TIMEOUT_SECONDS", 60.0)
        return make_settings(database_url=database_url, redis_url=stoppable_valkey.url)

    def test_the_same_question_is_answered_from_memory_for_seconds(
        self, ask: Callable[..., Any], sessions: SessionFactory
    ) -> None:
        first = ask("deliveries", **OCTOBER)
        with transaction(sessions) as session:
            add_deliveries(session, planned_at=utc(2026, 10, 5), counts={"sent": 1}, type="blog")

        again = ask("deliveries", **OCTOBER)
        another = ask("deliveries", **OCTOBER, type="blog")

        assert again == first
        assert another["total"] == 1

    def test_tenants_do_not_share_answers(
        self, client: TestClient, ask: Callable[..., Any], sessions: SessionFactory
    ) -> None:
        with transaction(sessions) as session:
            other = add_tenant(session, "other")
            session.add(_their_key(other))
            add_subscription(session, other, created_at=utc(2026, 10, 5))

        ours = ask("subscriptions", **OCTOBER)
        theirs = client.get(PATHS[0], params=OCTOBER, headers={"X-API-Key": THEIR_KEY}).json()

        assert (ours["total"], theirs["total"]) == (0, 1)

    def test_redis_may_go_away(self, ask: Callable[..., Any], stoppable_valkey: ValkeyServer) -> None:
        before = ask("deliveries", **OCTOBER)
        stoppable_valkey.stop()

        after = ask("deliveries", **OCTOBER)

        assert after["total"] == before["total"]
        assert datetime.fromisoformat(after["as_of"]) > datetime.fromisoformat(before["as_of"])
