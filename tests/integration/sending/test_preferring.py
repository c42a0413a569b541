"""Who does not want to wait says so, and is answered at once, however small the audience."""

import pytest

from tests.integration.sending.conftest import BROADCAST, SEND


@pytest.mark.parametrize(("path", "fields"), [(BROADCAST, {}), (SEND, {"topics": ["a"]})])
def test_with_respond_async_the_workers_do_it_all(service, subscribe, work, path, fields):
    browser = subscribe(topics=["a"])

    answer = service.send(path, headers={"Prefer": "return=minimal, Respond-Async; x=1, wait=10"}, **fields)
    received_by_then = len(browser.received)
    work()

    body = answer.json()
    assert (answer.status_code, body["status"], body["targeted"], received_by_then) == (202, "planning", None, 0)
    assert answer.headers["Preference-Applied"] == "respond-async"
    assert answer.headers["Location"] == f"/notifications/{body['notification_id']}/"
    assert len(browser.received) == 1
    assert service.look_up(body["notification_id"])["status"] == "sent"


def test_other_preferences_are_ignored(service):
    answer = service.send(headers={"Prefer": "wait=10, return=representation"})

    assert answer.status_code == 200
    assert "Preference-Applied" not in answer.headers


def test_a_replay_is_answered_as_preferred_too(service):
    answer = service.send(headers={"Prefer": "respond-async"}, key="a")
    again = service.send(headers={"Prefer": "respond-async"}, key="a")

    assert [each.headers["Preference-Applied"] for each in (answer, again)] == ["respond-async"] * 2
