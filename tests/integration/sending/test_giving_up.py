"""A client says when it gives up waiting. What has not begun by then never does, and a 404 by key is final."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from app.db.session import transaction
from app.delivery import targeting
from app.models import DEFAULT_TENANT_ID
from app.notifications import service as notifications
from app.notifications.idempotency import Key, find
from tests.support.delivery import is_somebody_waiting
from tests.support.waiting import until

KEY = "order-4711"


def giving_up(**after: float) -> dict[str, str]:
    return {"X-Give-Up-At": (datetime.now(UTC) + timedelta(**after)).isoformat()}


def test_in_time_it_is_sent(service, subscribe):
    browser = subscribe()

    answers = [
        service.send(headers=giving_up(hours=1)),
        service.send(headers={"X-Give-Up-At": str(time.time() + 3600)}),
    ]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert len(browser.received) == 2


@pytest.mark.parametrize("fields", [{}, {"scheduled_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}])
def test_too_late_nothing_is_stored(service, subscribe, database, fields):
    browser = subscribe()

    answer = service.send(key=KEY, headers=giving_up(seconds=-1), **fields)

    assert (answer.status_code, answer.json()["type"]) == (412, "/problems/gave-up")
    assert answer.headers["content-type"] == "application/problem+json"
    assert database.notifications() == 0
    assert database.run("SELECT FROM push_idempotency_keys") == []
    assert service.by_key(KEY).status_code == 404
    assert browser.received == []


def test_what_was_begun_is_told_also_after_that(service, subscribe):
    browser = subscribe()
    first = service.send(key=KEY, headers=giving_up(hours=1))

    again = service.send(key=KEY, headers=giving_up(seconds=-1))

    assert (again.status_code, again.content) == (200, first.content)
    assert len(browser.received) == 1


def test_a_request_that_waited_too_long_for_another_is_refused(service, database, monkeypatch):
    """The other one has the key, and goes away without storing anything once the time is over."""
    with ThreadPoolExecutor(1) as thread, transaction(database.sessions) as session:
        assert find(session, Key(DEFAULT_TENANT_ID, KEY)) is None
        waiting = thread.submit(service.send, key=KEY, headers=giving_up(hours=1))
        until(lambda: is_somebody_waiting(database.sessions))
        monkeypatch.setattr(notifications, "_now", lambda _session: datetime.now(UTC) + timedelta(hours=1))
        session.rollback()
        answer = waiting.result()

    assert (answer.status_code, answer.json()["type"]) == (412, "/problems/gave-up")
    assert database.notifications() == 0


def test_who_asks_by_key_waits_for_a_request_that_is_just_storing_it(service, database, monkeypatch):
    has_the_key, may_go_on = threading.Event(), threading.Event()

    def wait_in_the_transaction(*_):
        has_the_key.set()
        return not may_go_on.wait(60)

    monkeypatch.setattr(targeting, "is_larger_than", wait_in_the_transaction)
    with ThreadPoolExecutor(2) as threads:
        sending = threads.submit(service.send, key=KEY)
        assert has_the_key.wait(60)
        asking = threads.submit(service.by_key, KEY)
        until(lambda: is_somebody_waiting(database.sessions))
        may_go_on.set()
        sent, found = sending.result(), asking.result()

    assert (found.status_code, found.json()["id"]) == (200, sent.json()["notification_id"])
