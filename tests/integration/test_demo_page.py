"""What the demo page asks of the service: send to its own user, and tell what became of it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.db.session import transaction
from app.ids import new_id
from app.main import create_app
from app.models import DEFAULT_TENANT_ID, DeliveryLog, Receipt
from app.simulator import Browser, Simulator
from tests.support.api import bearer, build_settings, make_token
from tests.support.databases import temporary_database

STEPS = ("sent_at", "displayed_at", "clicked_at", "closed_at")


@pytest.fixture(scope="module")
def app(
    postgres_url: str, template_database: str, push_ca_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FastAPI]:
    """One app for all; each test's users are its own."""
    with temporary_database(postgres_url, template=template_database) as database_url:
        yield create_app(
            build_settings(
                data_dir=tmp_path_factory.mktemp("data"), database_url=database_url, push_ca_file=push_ca_file
            )
        )


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as running:
        yield running


class Visitor:
    """Somebody on the demo page whose browser is subscribed."""

    def __init__(
        self, client: TestClient, push_service: Simulator, *, headers: dict[str, str] | None = None
    ) -> None:
        self._client = client
        self.headers = headers or bearer(client.post("/demo/token").json()["token"])
        key = client.get("/vapid/public-key").json()["public_key"]
        self.browser: Browser = push_service.subscribe(application_server_key=key)
        body = {**self.browser.subscription, "topics": ["blog"], "application_server_key": key}
        self.subscription_id = UUID(client.post("/subscriptions/", json=body, headers=self.headers).json()["id"])

    def send(self, **content: Any) -> dict[str, Any]:
        answer = self._client.post("/demo/send", json={"body": "", **content}, headers=self.headers)
        assert answer.status_code in (200, 202), answer.text
        result: dict[str, Any] = answer.json()
        return result

    def sees(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self._client.get("/demo/notifications", headers=self.headers).json()["items"]
        return items


@pytest.fixture
def visit(client: TestClient, push_service: Simulator) -> Callable[[], Visitor]:
    return lambda: Visitor(client, push_service)


def report(app: FastAPI, visitor: Visitor, event: str, *, action: str | None = None) -> datetime:
    """Store what the visitor's service worker would report; return when it happened."""
    with transaction(app.state.sessions) as session:
        delivery = session.query(DeliveryLog).filter_by(subscription_id=visitor.subscription_id).one()
        receipt = Receipt(
            id=new_id(),
            tenant_id=DEFAULT_TENANT_ID,
            planned_at=delivery.planned_at,
            notification_id=delivery.notification_id,
            subscription_id=visitor.subscription_id,
            event=event,
            action=action,
            occurred_at=datetime.now(UTC),
        )
        session.add(receipt)
        return receipt.occurred_at


def test_a_visitor_sends_to_nobody_but_themselves(visit: Callable[[], Visitor]) -> None:
    alice, bob = visit(), visit()

    result = alice.send(title="For me", url="https://example.org/")

    assert (result["targeted"], result["sent"]) == (1, 1)
    assert [message.plaintext is not None for message in alice.browser.received] == [True]
    assert bob.browser.received == []
    assert bob.sees() == []
    [told] = alice.sees()
    assert (told["id"], told["title"], told["status"]) == (result["notification_id"], "For me", "sent")
    assert [name for name in STEPS if told[name]] == ["sent_at"]


def test_each_step_is_told_once_it_is_reported(app: FastAPI, visit: Callable[[], Visitor]) -> None:
    visitor = visit()
    visitor.send(title="Read on")

    times = {
        "displayed_at": report(app, visitor, "displayed"),
        "clicked_at": report(app, visitor, "clicked", action="later"),
        "closed_at": report(app, visitor, "closed"),
    }

    [told] = visitor.sees()
    assert {name: datetime.fromisoformat(told[name]) for name in times} == times
    assert told["action"] == "later"


def test_what_came_through_the_api_is_told_too_the_newest_first(
    client: TestClient, service_headers: dict[str, str], visit: Callable[[], Visitor]
) -> None:
    visitor = visit()
    visitor.send(title="First")
    to_topic = {"title": "Second", "body": "", "subscription_ids": [str(visitor.subscription_id)]}
    client.post("/notifications/send/", json=to_topic, headers=service_headers)

    titles = [told["title"] for told in visitor.sees()]

    assert titles == ["Second", "First"]


def test_what_waits_for_its_time_is_told_to_its_user(visit: Callable[[], Visitor]) -> None:
    alice, bob = visit(), visit()
    at = datetime.now(UTC) + timedelta(hours=1)

    alice.send(title="Later", scheduled_at=at.isoformat())

    [told] = alice.sees()
    assert (told["title"], told["status"], told["sent_at"]) == ("Later", None, None)
    assert datetime.fromisoformat(told["scheduled_at"]) == at
    assert bob.sees() == []


def test_a_delivery_that_failed_is_told_with_its_reason(
    visit: Callable[[], Visitor], push_service: Simulator
) -> None:
    visitor = visit()
    visitor.browser.unsubscribe()

    visitor.send(title="Too late")

    [told] = visitor.sees()
    assert (told["status"], told["response_code"]) == ("expired", 410)


def test_a_browser_that_lost_its_subscription_and_made_another_is_told_of_one_delivery(
    client: TestClient, visit: Callable[[], Visitor], push_service: Simulator
) -> None:
    visitor = visit()
    visitor.browser.unsubscribe()
    again = Visitor(client, push_service, headers=visitor.headers)

    result = again.send(title="Where are you?")

    assert (result["sent"], result["expired"]) == (1, 1)
    assert [told["status"] for told in again.sees()] == ["sent"]


@pytest.mark.parametrize(
    "content",
    [
        {"title": "x", "body": "", "user_ids": ["somebody-else"]},
        {"title": "x", "body": "", "topics": ["blog"]},
        {"title": "x", "body": "", "subscription_ids": [str(UUID(int=1))]},
        {"title": "", "body": ""},
        {"title": "x", "body": "y", "url": "javascript:alert(1)"},
        {"title": ["x"], "body": ""},
        [],
    ],
)
def test_nobody_else_can_be_named_and_bad_content_is_refused(client: TestClient, content: Any) -> None:
    headers = bearer(client.post("/demo/token").json()["token"])

    answer = client.post("/demo/send", json=content, headers=headers)

    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


@pytest.mark.parametrize(("method", "path"), [("POST", "/demo/send"), ("GET", "/demo/notifications")])
def test_only_users_are_served(client: TestClient, service_headers: dict[str, str], method: str, path: str) -> None:
    callers: tuple[dict[str, str], ...] = ({}, bearer(make_token(push_anonymous=True)), service_headers)

    answers = [client.request(method, path, json={"title": "x", "body": ""}, headers=who) for who in callers]

    assert [answer.status_code for answer in answers] == [401, 403, 403]
