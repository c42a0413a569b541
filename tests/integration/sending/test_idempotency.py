"""A client that cannot know whether it was heard sends again, with the same key: one notification, one answer."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from app.db.session import transaction
from app.delivery.inline import run_inline
from app.main import create_app
from app.models import DEFAULT_TENANT_ID
from app.notifications import service as sending
from app.notifications.idempotency import Key, find
from tests.integration.sending.conftest import BROADCAST, SEND, Service
from tests.support.api import SERVICE_HEADERS
from tests.support.delivery import is_somebody_waiting
from tests.support.waiting import until

KEY = "order-4711"
ASYNC = {"Prefer": "respond-async"}


def says_the_same(answer, first):
    """Whether this is the first answer again, and says so."""
    assert "Idempotency-Replayed" not in first.headers
    return (
        answer.status_code == first.status_code
        and answer.content == first.content
        and answer.headers.get("Location") == first.headers.get("Location")
        and answer.headers["Idempotency-Replayed"] == "true"
    )


@pytest.fixture
def send_and_break_down(service, monkeypatch):
    """Send, and have the request break down once its notification is stored: it sends and remembers nothing."""

    def break_down(*_):
        raise RuntimeError("broke down")

    def send(**given):
        with monkeypatch.context() as patch:
            patch.setattr(sending, "run_inline", break_down)
            assert service.send(**given).status_code == 500

    return send


def test_the_same_again_is_answered_as_the_first_time_and_sends_nothing(service, database, subscribe):
    browser = subscribe(topics=["a"])

    first = service.send(SEND, key=KEY, topics=["a"], body="x" * 3000)
    again = service.send(SEND, key=f'"{KEY}"', topics=["a"], body="x" * 3000)

    assert (first.status_code, first.json()["sent"]) == (200, 1)
    assert [warning["code"] for warning in first.json()["warnings"]] == ["large-payload"]
    assert len(first.json()["deliveries"]) == 1
    assert says_the_same(again, first)
    assert (len(browser.received), database.notifications()) == (1, 1)


def test_the_same_told_in_other_json_is_the_same(client, service):
    first = service.send(key=KEY)

    json = b'{\n "body":"Check out the latest article", "title":"New Blog\\u0020Post", "urgency": "normal"}'
    headers = {**SERVICE_HEADERS, "Idempotency-Key": KEY, "Content-Type": "application/json"}
    again = client.post(BROADCAST, content=json, headers=headers)

    assert says_the_same(again, first)


@pytest.mark.parametrize(
    "fields",
    [{"scheduled_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}, {"body": "x" * 3000}],
    ids=["scheduled", "async"],
)
def test_what_is_left_to_the_workers_is_answered_as_the_first_time_too(service, subscribe, work, database, fields):
    subscribe()
    first = service.send(key=KEY, headers=ASYNC, **fields)
    database.let_time_come()
    work()

    again = service.send(key=KEY, headers=ASYNC, **fields)

    assert first.status_code == 202
    assert len(first.json()["warnings"]) == ("body" in fields)
    assert says_the_same(again, first)
    assert service.look_up(first.json()["notification_id"])["sent"] == 1


def test_another_body_under_the_key_is_refused(service, database):
    service.send(key=KEY)

    answer = service.send(key=KEY, title="Another")

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert database.notifications() == 1


def test_another_route_under_the_key_is_refused(service):
    service.send(SEND, key=KEY, topics=["a"])

    assert service.send(key=KEY).status_code == 422


def test_a_refusal_is_not_remembered(service, subscribe):
    browser = subscribe()

    refused = [service.send(key=KEY, title=""), service.send(key=KEY, body="é" * 3000)]
    corrected = service.send(key=KEY)

    assert [answer.status_code for answer in refused] == [422, 422]
    assert (corrected.status_code, len(browser.received)) == (200, 1)


def test_while_the_first_one_runs_the_others_are_told_to_come_back(service, subscribe, database, monkeypatch):
    browser = subscribe()
    may_go_on = threading.Event()
    monkeypatch.setattr(sending, "run_inline", lambda *given: may_go_on.wait(60) and run_inline(*given))

    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(service.send, key=KEY)
        until(lambda: database.notifications() == 1)
        meanwhile = service.send(key=KEY)
        shown = service.by_key(KEY)
        may_go_on.set()
        first = first.result()

    assert (meanwhile.status_code, meanwhile.json()["type"]) == (409, "/problems/idempotency-key-in-use")
    assert 1 <= int(meanwhile.headers["Retry-After"]) <= 5
    assert (shown.status_code, shown.json()["id"]) == (200, first.json()["notification_id"])
    assert says_the_same(service.send(key=KEY), first)
    assert len(browser.received) == 1


def test_of_many_at_once_one_sends(service, subscribe, database):
    browser = subscribe()
    start = threading.Barrier(8)

    def send_at_once(_):
        start.wait()
        return service.send(key=KEY)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(send_at_once, range(8)))

    assert {answer.status_code for answer in answers} <= {200, 409}
    assert (database.notifications(), len(browser.received)) == (1, 1)
    assert len({answer.content for answer in answers if answer.status_code == 200}) == 1


def test_who_comes_while_the_first_is_being_stored_waits_and_is_told(service, database):
    """The first has the key and is not committed; what the second is told depends on what comes of it."""
    with ThreadPoolExecutor(1) as thread, transaction(database.sessions) as session:
        assert find(session, Key(DEFAULT_TENANT_ID, KEY)) is None
        second = thread.submit(service.send, key=KEY)
        until(lambda: is_somebody_waiting(database.sessions))
        assert database.notifications() == 0
        session.rollback()
        answer = second.result()

    assert answer.status_code == 200
    assert database.notifications() == 1


def test_after_a_crash_before_planning_it_is_told_how_far_it_has_come(
    service, send_and_break_down, database, subscribe, work
):
    browser = subscribe()
    send_and_break_down(key=KEY)
    at_once = service.send(key=KEY)

    database.let_requests_be_dead()
    unplanned = service.send(key=KEY)
    work()
    sent = service.send(key=KEY)

    assert (at_once.status_code, at_once.headers["Retry-After"]) == (409, "5")
    assert (unplanned.status_code, unplanned.json()["status"]) == (202, "planning")
    assert unplanned.headers["Location"] == unplanned.json()["status_url"]
    assert (sent.status_code, sent.json()["status"], sent.json()["sent"]) == (200, "sent", 1)
    assert {answer.headers["Idempotency-Replayed"] for answer in (unplanned, sent)} == {"true"}
    assert (database.notifications(), len(browser.received)) == (1, 1)


def test_after_a_crash_before_answering_it_is_told_what_came_of_it(service, database, subscribe):
    browser = subscribe()
    first = service.send(key=KEY, body="x" * 3000)
    database.run(
        "UPDATE push_idempotency_keys SET response_status = NULL, response_body = NULL, locked_until = now()"
    )

    again = service.send(key=KEY, body="x" * 3000)

    assert says_the_same(again, first)
    assert len(again.json()["warnings"]) == 1
    assert len(browser.received) == 1


def test_what_waits_for_its_next_try_is_answered_as_the_first_time(service, subscribe, push_service):
    subscribe()
    push_service.answers(503, retry_after=600)
    first = service.send(key=KEY)

    assert (first.status_code, first.json()["pending"]) == (200, 1)
    assert says_the_same(service.send(key=KEY), first)


def test_asking_again_counts_against_no_limit(make_settings, database_url):
    settings = make_settings(database_url=database_url, rate_limit_notification="2/hour")
    with TestClient(create_app(settings)) as client:
        service = Service(client)
        first = service.send(key=KEY)
        again = [service.send(key=KEY) for _ in range(3)]
        others = [service.send(key=f"another-{number}") for number in range(2)]

    assert first.status_code == 200
    assert all(says_the_same(answer, first) for answer in again)
    assert [answer.status_code for answer in others] == [200, 429]


def test_it_is_still_found_when_its_key_is_forgotten_and_then_the_newest(service, database):
    service.send(key=KEY)
    database.run("DELETE FROM push_idempotency_keys")
    newest = service.send(key=KEY, title="Another").json()

    assert service.by_key(KEY).json()["id"] == newest["notification_id"]
    assert database.notifications() == 2


def test_another_tenants_key_is_neither_found_nor_in_the_way(service, database):
    service.send(key=KEY)
    database.run("INSERT INTO push_tenants (id, slug, name) VALUES (gen_random_uuid(), 'other', 'Other')")
    database.run("UPDATE push_notifications SET tenant_id = (SELECT id FROM push_tenants WHERE slug = 'other')")
    database.run("UPDATE push_idempotency_keys SET tenant_id = (SELECT id FROM push_tenants WHERE slug = 'other')")

    assert service.by_key(KEY).status_code == 404
    assert service.send(key=KEY, title="Another").status_code == 200
