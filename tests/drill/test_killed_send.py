"""The service is killed in the middle of a send, and started again: the same key never sends a second time."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.integration.sending.conftest import BROADCAST, CONTENT, Database
from tests.support.api import SERVICE_HEADERS, bearer, make_token
from tests.support.waiting import until

REQUEST: dict[str, Any] = {
    "json": CONTENT,
    "headers": {**SERVICE_HEADERS, "Idempotency-Key": "order-4711"},
    "timeout": 60,
}


@pytest.fixture
def database(sessions) -> Database:
    return Database(sessions)


def subscribe(server, push_service):
    key = httpx.get(f"{server.url}/vapid/public-key", timeout=60).json()["public_key"]
    browser = push_service.subscribe("fcm", application_server_key=key)
    user = bearer(make_token(user_id="1"))
    answer = httpx.post(f"{server.url}/subscriptions/", json=browser.subscription, headers=user, timeout=60)
    answer.raise_for_status()
    return browser


def test_a_send_that_was_killed_is_answered_by_whoever_is_asked_next(
    start_server, push_service, push_ca_file, database
):
    variables = {"PUSH_CA_FILE": str(push_ca_file), "PUSH_SENDER": "pywebpush"}
    first = start_server(**variables)
    browser = subscribe(first, push_service)
    push_service.hangs()

    with ThreadPoolExecutor(1) as thread:
        dying = thread.submit(httpx.post, first.url + BROADCAST, **REQUEST)
        until(lambda: bool(database.run("SELECT FROM push_delivery_batches WHERE state = 'leased'")))
        os.killpg(first.process.pid, signal.SIGKILL)
        with pytest.raises(httpx.TransportError):
            dying.result()
    second = start_server(**variables)
    at_once = httpx.post(second.url + BROADCAST, **REQUEST)
    database.run("UPDATE push_idempotency_keys SET locked_until = now()")
    later = httpx.post(second.url + BROADCAST, **REQUEST)

    assert (at_once.status_code, at_once.json()["type"]) == (409, "/problems/idempotency-key-in-use")
    assert (later.status_code, later.json()["status"], later.json()["pending"]) == (202, "sending", 1)
    found = httpx.get(second.url + "/notifications/by-key/order-4711", headers=SERVICE_HEADERS, timeout=60).json()
    assert found["id"] == later.json()["notification_id"]
    assert database.notifications() == 1
    assert len(browser.received) <= 1
