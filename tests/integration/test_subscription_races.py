"""Several subscribe with one endpoint at the same moment: it ends as one subscription, of one of them."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy import text

from app.db.session import SessionFactory, transaction
from app.models import DEFAULT_TENANT_ID
from app.subscriptions import repository
from tests.support.api import Credentials
from tests.support.browser_keys import a_subscription
from tests.support.delivery import live_rows
from tests.support.waiting import until


@pytest.fixture
def at_the_same_moment(client: TestClient, sessions: SessionFactory) -> Callable[..., list[Response]]:
    """Post subscriptions of one endpoint so that all wait for the same lock before any goes on."""
    endpoint_hash = hashlib.sha256(a_subscription()["endpoint"].encode()).digest()

    def wait_until_waiting(count: int) -> None:
        waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")

        def are_waiting() -> object:
            with transaction(sessions) as session:
                return session.scalars(waiting).one() == count

        until(are_waiting, "the requests meet")

    def post(bodies: list[tuple[dict[str, Any], dict[str, str]]]) -> list[Response]:
        with ThreadPoolExecutor(len(bodies)) as threads:
            with transaction(sessions) as session:
                repository.lock_endpoint(session, DEFAULT_TENANT_ID, endpoint_hash)
                answers = [
                    threads.submit(client.post, "/subscriptions/", json=body, headers=headers)
                    for body, headers in bodies
                ]
                wait_until_waiting(len(bodies))
            return [answer.result(60) for answer in answers]

    return post


def test_simultaneous_first_subscriptions_end_as_one(
    sessions: SessionFactory, credentials: Credentials, at_the_same_moment: Callable[..., list[Response]]
) -> None:
    answers = at_the_same_moment([(a_subscription(), credentials["alice"])] * 4)

    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert {answer.json()["id"] for answer in answers} == {str(row.id) for row in live_rows(sessions)}


def test_simultaneous_takeovers_end_with_one_owner(
    client: TestClient,
    sessions: SessionFactory,
    credentials: Credentials,
    at_the_same_moment: Callable[..., list[Response]],
) -> None:
    client.post("/subscriptions/", json=a_subscription(), headers=credentials["alice"])

    answers = at_the_same_moment([(a_subscription(), credentials[user]) for user in ("bob", "carol")])

    (row,) = live_rows(sessions)
    assert [answer.status_code for answer in answers] == [201, 201]
    assert (str(row.id), row.user_id) in {(answer.json()["id"], answer.json()["user_id"]) for answer in answers}
