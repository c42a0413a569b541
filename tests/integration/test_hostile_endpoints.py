"""What an attacker might subscribe with is not stored, and the refusal does not repeat it."""

import json

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.db.session import SessionFactory, transaction
from app.models import Subscription
from tests.support.api import SERVICE_HEADERS, SettingsFactory
from tests.support.browser_keys import a_subscription, browser_keys
from tests.support.hostile_endpoints import EACH_HOSTILE_ENDPOINT


@pytest.fixture
def settings(make_settings: SettingsFactory, database_url: str):
    return make_settings(database_url=database_url, push_allow_loopback=False)


def test_no_trick_is_stored_nor_put_in_the_place_of_what_is(client: TestClient, sessions: SessionFactory) -> None:
    stored = client.post("/subscriptions/", json=a_subscription(), headers=SERVICE_HEADERS).json()
    replacing = f"/subscriptions/{stored['id']}/replace"
    headers = {**SERVICE_HEADERS, "Content-Type": "application/json"}

    answers = [
        client.post(path, content=json.dumps({**a_subscription(2), "endpoint": endpoint, **more}), headers=headers)
        for endpoint in EACH_HOSTILE_ENDPOINT
        for path, more in [("/subscriptions/", {}), (replacing, {"old_auth": browser_keys().auth})]
    ]

    assert {answer.status_code for answer in answers} == {422}
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}
    assert not any("/latest/meta-data" in answer.text for answer in answers)
    with transaction(sessions) as session:
        assert session.scalars(select(Subscription.endpoint)).all() == [a_subscription()["endpoint"]]
