"""A service that sends through the API, browsers that subscribed there, and a worker that runs when told to."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy import Row, func, select, text

from app.db.session import SessionFactory, transaction
from app.models import Notification
from app.settings import Settings
from app.simulator import Browser
from tests.support.api import SERVICE_HEADERS, SettingsFactory
from tests.support.delivery import finish_with_a_worker

CONTENT = {"title": "New Blog Post", "body": "Check out the latest article"}
SEND = "/notifications/send/"
BROADCAST = "/notifications/broadcast/"


@pytest.fixture
def settings(make_settings: SettingsFactory, database_url, push_ca_file) -> Settings:
    return make_settings(
        database_url=database_url,
        push_ca_file=push_ca_file,
        push_sender="pywebpush",
        site_url="https://example.com",
        asset_base_url="https://cdn.example.com/assets/",
    )


@pytest.fixture
def subscribe_browser(client, push_service, user_headers) -> Callable[..., tuple[Browser, str]]:
    """Subscribe a simulated browser through the API, as a user; returns the browser and its subscription id."""

    def subscribe(user_id: str = "1", *, service: str = "fcm", **fields: Any) -> tuple[Browser, str]:
        key = client.get("/vapid/public-key").json()["public_key"]
        browser = push_service.subscribe(service, application_server_key=key)
        answer = client.post(
            "/subscriptions/", json={**browser.subscription, **fields}, headers=user_headers(user_id)
        )
        assert answer.status_code == 201, answer.text
        return browser, answer.json()["id"]

    return subscribe


@pytest.fixture
def subscribe(subscribe_browser) -> Callable[..., Browser]:
    """The same for who needs no id: `subscribe(topics=["a"])` returns the browser."""
    return lambda *user, **fields: subscribe_browser(*user, **fields)[0]


class Service:
    """What a service with an API key does; a key, headers and members of the body are given by name."""

    def __init__(self, client: TestClient) -> None:
        self._client = client

    def send(
        self, path: str = BROADCAST, *, key: str | None = None, headers: dict[str, str] | None = None, **fields: Any
    ) -> Response:
        given = {**SERVICE_HEADERS, **(headers or {}), **({"Idempotency-Key": key} if key else {})}
        answer: Response = self._client.post(path, json={**CONTENT, **fields}, headers=given)
        return answer

    def get(self, path: str) -> Response:
        answer: Response = self._client.get(path, headers=SERVICE_HEADERS)
        return answer

    def by_key(self, key: str) -> Response:
        return self.get(f"/notifications/by-key/{key}")

    def look_up(self, notification_id: str) -> dict[str, Any]:
        answer = self.get(f"/notifications/{notification_id}/")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def cancel(self, notification_id: str) -> Response:
        answer: Response = self._client.post(f"/notifications/{notification_id}/cancel", headers=SERVICE_HEADERS)
        return answer


@pytest.fixture
def service(client) -> Service:
    return Service(client)


class Database:
    """The service's database, to look at what is stored and to let time pass."""

    def __init__(self, sessions: SessionFactory) -> None:
        self.sessions = sessions

    def run(self, statement: str, **parameters: Any) -> list[Row[Any]]:
        with transaction(self.sessions) as session:
            result = session.connection().execute(text(statement), parameters)
            return list(result) if result.returns_rows else []

    def notifications(self) -> int:
        with transaction(self.sessions) as session:
            return session.scalars(select(func.count()).select_from(Notification)).one()

    def let_time_come(self) -> None:
        """What was scheduled for later is due now."""
        self.run("UPDATE push_notifications SET scheduled_at = now() - interval '1 ms' WHERE state = 'scheduled'")

    def let_requests_be_dead(self) -> None:
        """What requests kept for themselves is anybody's now."""
        self.run("UPDATE push_notifications SET plan_after = now()")
        self.run("UPDATE push_delivery_batches SET not_before = now(), leased_until = now() - interval '1 s'")
        self.run("UPDATE push_idempotency_keys SET locked_until = now() WHERE locked_until IS NOT NULL")


@pytest.fixture
def database(client) -> Database:
    return Database(client.app.state.sessions)


@pytest.fixture
def work(client) -> Callable[[], None]:
    """Let a worker do all that is due."""
    return lambda: finish_with_a_worker(client.app.state.pipeline)
