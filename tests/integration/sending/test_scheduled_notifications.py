"""A notification for later: stored, listed, released at its time to whom it then concerns, or cancelled before."""

from datetime import UTC, datetime, timedelta

import pytest

from app.workers.loop import DeliveryLoop
from tests.integration.sending.conftest import BROADCAST, SEND
from tests.support.waiting import until

COUNTS = ("pending", "sent", "delivered", "failed", "expired")


def in_future(**by: float) -> str:
    return (datetime.now(UTC) + timedelta(**by)).isoformat()


@pytest.mark.parametrize(("path", "fields"), [(BROADCAST, {}), (SEND, {"topics": ["a"]})])
def test_it_is_stored_and_answered_with_where_to_look(service, subscribe, path, fields):
    browser = subscribe(topics=["a"])
    scheduled_at = in_future(hours=1)

    answer = service.send(path, scheduled_at=scheduled_at, **fields)

    assert answer.status_code == 202
    body = answer.json()
    assert answer.headers["Location"] == body["status_url"] == f"/notifications/{body['notification_id']}/"
    assert (body["status"], body["targeted"], body["deliveries"]) == ("scheduled", None, None)
    assert [body[name] for name in COUNTS] == [0] * 5
    shown = service.look_up(body["notification_id"])
    assert (shown["status"], shown["targeted"], shown["finished_at"]) == ("scheduled", None, None)
    assert datetime.fromisoformat(shown["scheduled_at"]) == datetime.fromisoformat(scheduled_at)
    assert browser.received == []


def test_nothing_of_it_is_planned_before_its_time(service, database, subscribe, work):
    browser = subscribe()
    service.send(scheduled_at=in_future(hours=1))

    work()

    assert browser.received == []
    assert database.run("SELECT FROM push_delivery_logs") == []


def test_history_lists_those_that_are_scheduled(service):
    service.send(title="Now")
    service.send(title="Later", scheduled_at=in_future(hours=1))

    listed = service.get("/notifications/history/?status=scheduled").json()

    assert [item["title"] for item in listed["items"]] == ["Later"]
    assert service.get("/notifications/history/?status=pending").json()["total"] == 0


def test_its_audience_is_chosen_and_its_ttl_counts_when_its_time_comes(service, database, subscribe, work):
    leaves = subscribe("1")
    notification_id = service.send(scheduled_at=in_future(hours=1), ttl=600).json()["notification_id"]
    database.run("UPDATE push_subscriptions SET enabled = false, deleted_at = now()")
    comes = subscribe("2")
    database.run("UPDATE push_notifications SET accepted_at = accepted_at - interval '1 hour'")
    database.let_time_come()

    work()

    assert [len(browser.received) for browser in (leaves, comes)] == [0, 1]
    assert int(comes.received[0].headers["ttl"]) > 590
    shown = service.look_up(notification_id)
    assert (shown["status"], shown["targeted"], shown["sent"]) == ("sent", 1, 1)


def test_a_worker_that_runs_releases_it_within_five_seconds_of_its_time(client, service, subscribe):
    browser = subscribe()
    loop = DeliveryLoop(client.app.state.pipeline)
    loop.start()

    late_by: list[timedelta] = []
    while not late_by or (late_by[-1] >= timedelta(seconds=5) and len(late_by) < 3):  # a machine may be busy
        scheduled_at = datetime.now(UTC) + timedelta(seconds=1)
        service.send(scheduled_at=scheduled_at.isoformat())
        until(lambda: len(browser.received) > len(late_by))
        late_by.append(datetime.now(UTC) - scheduled_at)
    loop.stop()

    assert timedelta(0) <= late_by[-1] < timedelta(seconds=5)


def test_a_time_gone_by_means_now(service, subscribe):
    browser = subscribe()

    answer = service.send(scheduled_at=in_future(seconds=-1))

    assert (answer.status_code, answer.json()["status"], len(browser.received)) == (200, "sent", 1)


def test_a_time_more_than_a_year_ahead_is_refused(service, database):
    within = service.send(scheduled_at=in_future(days=365))
    beyond = service.send(scheduled_at=in_future(days=367))
    never = service.send(scheduled_at="9999-12-31T23:59:59Z")

    assert [answer.status_code for answer in (within, beyond, never)] == [202, 422, 422]
    assert beyond.json()["type"] == "/problems/scheduled-too-far-ahead"
    assert "366 days" in beyond.json()["detail"]
    assert database.notifications() == 1


def test_one_that_is_too_large_is_refused_at_once(service, database):
    answer = service.send(scheduled_at=in_future(hours=1), body="é" * 3000)

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/payload-too-large")
    assert database.notifications() == 0


def test_cancelled_before_its_time_nobody_gets_it(service, database, subscribe, work):
    browser = subscribe()
    notification_id = service.send(scheduled_at=in_future(hours=1)).json()["notification_id"]

    answer = service.cancel(notification_id)
    database.run("UPDATE push_notifications SET scheduled_at = now() - interval '1 s'")
    work()

    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["status"], shown["targeted"], shown["user_ids"]) == ("cancelled", 0, None)
    assert shown["finished_at"] is not None
    assert browser.received == []
