"""Browsers that renew their subscription: over HTTP, or without it where deliveries matter."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy import select, update

from app.db.session import SessionFactory, create_sessions, transaction
from app.main import create_app
from app.models import Subscription
from app.push.endpoint import EndpointPolicy
from app.simulator import Browser
from app.subscriptions.replacing import replace
from app.subscriptions.schemas import SubscriptionIn
from tests.support.api import bearer, build_settings, make_token
from tests.support.browser_keys import a_subscription, browser_keys
from tests.support.databases import dispose
from tests.support.delivery import Subscriber

Headers = dict[str, str]


def user(name: str) -> Headers:
    return bearer(make_token(user_id=name, token_type="access"))


ALICE, BOB, NO_USER = user("alice"), user("bob"), bearer(make_token(push_anonymous=True))


@dataclass
class Service:
    """One app for all of these tests; each browser has a number of its own."""

    client: TestClient
    sessions: SessionFactory
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def subscribe(self, headers: Headers, **members: Any) -> tuple[int, str]:
        """Return the number of a new browser and the id of its subscription."""
        number = next(self.numbers)
        answer = self.client.post("/subscriptions/", json=a_subscription(number, **members), headers=headers)
        assert answer.status_code == 201, answer.text
        return number, answer.json()["id"]

    def replace(
        self, subscription_id: object, old: int, new: int, headers: Headers | None = None, **members: Any
    ) -> Response:
        body = a_subscription(new, **{"old_auth": browser_keys(old).auth, **members})
        answer: Response = self.client.post(f"/subscriptions/{subscription_id}/replace", json=body, headers=headers)
        return answer

    def row(self, subscription_id: str) -> Subscription:
        with transaction(self.sessions) as session:
            return session.get_one(Subscription, UUID(subscription_id))

    def mark(self, subscription_id: str, **values: Any) -> None:
        with transaction(self.sessions) as session:
            session.execute(update(Subscription).where(Subscription.id == UUID(subscription_id)).values(**values))

    def holders_of(self, number: int) -> list[str]:
        """Return the ids of the subscriptions that have this browser's endpoint now."""
        with transaction(self.sessions) as session:
            return [
                str(found)
                for found in session.scalars(
                    select(Subscription.id).where(
                        Subscription.endpoint == a_subscription(number)["endpoint"],
                        Subscription.deleted_at.is_(None),
                    )
                )
            ]


@contextmanager
def serving(database_url: str, data_dir: Path) -> Iterator[Service]:
    settings = build_settings(
        database_url=database_url,
        data_dir=data_dir,
        cors_allowed_origins="https://shop.example",
        rate_limit_subscription="1000/hour",
    )
    sessions = create_sessions(database_url)
    with TestClient(create_app(settings)) as client:
        yield Service(client, sessions)
    dispose(sessions)


def replaced_by(subscriber: Subscriber, browser: Browser, **members: str) -> Subscription:
    """Let the subscription be that of another browser from now on; `members` are added to what this one offers."""
    offer = SubscriptionIn(**{**browser.subscription, **members}).to_offer()
    with transaction(subscriber.sessions) as session:
        return replace(
            *(session, None, subscriber.id, offer),
            old_auth=subscriber.browser.subscription["keys"]["auth"],
            enabled=None,
            policy=EndpointPolicy(allow_loopback=True),
        )
