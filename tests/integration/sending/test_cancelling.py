"""A service takes back what it sent: at once, as often as it likes, and with counts that stay true."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from app.db.session import transaction
from app.delivery import plan
from app.models import NotificationState
from app.notifications.schedule import release_due
from tests.support.delivery import is_somebody_waiting
from tests.support.ledger import add_notification, add_tenant
from tests.support.senders import HangingSender
from tests.support.waiting import until

COUNTS = ("pending", "sent", "delivered", "failed", "expired")
ASYNC = {"Prefer": "respond-async"}


def counts(shown):
    return {name: shown[name] for name in COUNTS if shown[name]}


@pytest.fixture
def plan_a_page(database):
    """Plan the next page of a notification, as a worker does."""

    def plan_it(notification_id):
        with transaction(database.sessions) as session:
            return plan.plan_page(session, notification_id)

    return plan_it


def test_what_is_planned_is_settled_by_the_workers_and_nobody_gets_it(service, subscribe, plan_a_page, work):
    browsers = [subscribe(str(number)) for number in range(3)]
    notification_id = service.send(headers=ASYNC).json()["notification_id"]
    plan_a_page(notification_id)

    answer = service.cancel(notification_id)
    work()

    assert answer.status_code == 200
    at_once, settled = answer.json(), service.look_up(notification_id)
    assert (at_once["status"], at_once["targeted"], at_once["finished_at"]) == ("cancelled", 3, None)
    assert counts(at_once) == {"pending": 3}
    assert (settled["status"], settled["targeted"], counts(settled)) == ("cancelled", 3, {"failed": 3})
    assert settled["finished_at"] is not None
    rows = service.get(f"/notifications/{notification_id}/deliveries/").json()["items"]
    assert {row["reason"] for row in rows} == {"cancelled"}
    assert [browser.received for browser in browsers] == [[], [], []]


def test_while_it_is_settled_history_counts_it_among_the_pending(service, subscribe, plan_a_page, work):
    subscribe()
    notification_id = service.send(headers=ASYNC).json()["notification_id"]
    plan_a_page(notification_id)
    service.cancel(notification_id)

    def pending():
        return service.get("/notifications/history/?status=pending").json()["total"]

    before = pending()
    work()

    assert (before, pending()) == (1, 0)
    assert service.get("/notifications/history/?status=cancelled").json()["total"] == 1


def test_cancelling_again_is_answered_alike(client, service, subscribe, service_headers):
    subscribe()
    notification_id = service.send(headers=ASYNC).json()["notification_id"]

    first = service.cancel(notification_id)
    again = client.post(f"/notifications/{notification_id}/cancel/", headers=service_headers)

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()


def test_what_is_sent_cannot_be_cancelled(service, subscribe):
    subscribe()
    sent = service.send().json()

    answer = service.cancel(sent["notification_id"])

    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/already-sent"
    assert service.look_up(sent["notification_id"])["status"] == "sent"


def test_what_waits_for_its_next_try_ends_now(service, push_service, subscribe, work):
    browser = subscribe()
    push_service.answers(503, retry_after=600)
    notification_id = service.send().json()["notification_id"]

    service.cancel(notification_id)
    work()

    assert counts(service.look_up(notification_id)) == {"failed": 1}
    assert browser.received == []


def test_a_request_that_is_just_sending_it_says_that_it_was_cancelled(client, service, database, subscribe):
    for number in range(3):
        subscribe(str(number))
    sender = HangingSender()
    client.app.state.pipeline = replace(client.app.state.pipeline, sender=sender)

    with ThreadPoolExecutor(1) as thread:
        sending = thread.submit(service.send)
        assert sender.posted.wait(60)
        [[notification_id]] = database.run("SELECT id FROM push_notifications")
        service.cancel(str(notification_id))
        sender.answer.set()
        answer = sending.result()

    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert counts(answer.json()) == {"sent": 3}, "what was in flight is told as it came out"
    assert service.look_up(str(notification_id))["finished_at"] is not None


def test_one_not_yours_is_a_404(service, database):
    with transaction(database.sessions) as session:
        theirs = add_notification(session, add_tenant(session, "other"), state=NotificationState.PLANNING)

    answers = [service.cancel(str(each)) for each in (theirs, uuid4())]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert [answer.json()["type"] for answer in answers] == ["/problems/notification-not-found"] * 2
    assert database.run("SELECT state FROM push_notifications") == [("planning",)]


def test_cancelled_while_it_is_released_nobody_gets_it(service, database, subscribe, work):
    browser = subscribe()
    in_an_hour = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    notification_id = service.send(scheduled_at=in_an_hour).json()["notification_id"]
    database.let_time_come()

    with ThreadPoolExecutor(1) as thread, transaction(database.sessions) as session:
        assert release_due(session) == 1
        cancelling = thread.submit(service.cancel, notification_id)
        until(lambda: is_somebody_waiting(database.sessions))
        session.commit()
        answer = cancelling.result()
    work()

    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert browser.received == []


def test_an_id_that_is_none_is_a_422(service):
    assert service.cancel("by-key").status_code == 422
