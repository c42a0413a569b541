"""What Chromium reports of a notification, and what becomes of several: the service's messages, real receipts."""

from collections.abc import Iterator
from datetime import datetime

import pytest

from tests.support.api import make_token
from tests.support.chromium import Chromium
from tests.support.demo_page import only_delivery_of, send, wait_until_delivered
from tests.support.line import Line
from tests.support.visitors import Visitor
from tests.support.waiting import until

REPLY = [{"action": "reply", "title": "Reply", "url": "/reply"}]


@pytest.fixture
def far_visitor(chromium: Chromium, origins: Iterator[str], line: Line) -> Iterator[Visitor]:
    """Somebody whose way to the service can be cut."""
    service = f"http://127.0.0.1:{line.port}"
    yield Visitor(chromium, next(origins), service=service, token=make_token(user_id="far"))
    chromium.tidy_up()


def test_display_and_a_buttons_click_are_reported_without_a_preflight(visitor, client, server, receipts_of):
    sent = send(client, visitor.subscribe(), title="Question", body="", actions=REPLY)["notification_id"]
    preflights = server.output().count("method=OPTIONS")

    visitor.receive()
    visitor.desktop.click(visitor.desktop.wait_for("Question"), "Reply")

    until(lambda: receipts_of(sent).keys() == {"displayed", "clicked"}, "both receipts")
    assert receipts_of(sent)["clicked"].action == "reply"
    assert only_delivery_of(client, sent)["status"] == "delivered"
    assert client.get(f"/notifications/{sent}/").json()["delivered"] == 1
    assert server.output().count("method=OPTIONS") == preflights
    assert visitor.look_into("complaints") == []


def test_closing_is_reported_and_a_declarative_message_reports_too(visitor, client, receipts_of):
    subscription_id = visitor.subscribe(service="apple")
    sent = send(client, subscription_id, title="Not now", body="", url="https://shop.example/")["notification_id"]

    message = visitor.receive()
    visitor.desktop.close(visitor.desktop.wait_for("Not now"))

    assert message["web_push"] == 8030
    until(lambda: receipts_of(sent).keys() == {"displayed", "closed"}, "both receipts")


def test_a_message_that_comes_twice_is_shown_once_reported_once_and_alerts_once(visitor, client, receipts_of):
    sent = send(client, visitor.subscribe(), title="Once", body="")["notification_id"]
    visitor.receive()
    visitor.desktop.wait_for("Once")
    wait_until_delivered(client, sent)
    before, [shown] = receipts_of(sent), visitor.shown()

    visitor.receive_again()

    until(lambda: visitor.desktop.wait_for("Once").times == 2, "its second time")
    visitor.page.wait_for_function("heard.length === 2")
    assert shown["renotify"] is True
    assert [each["renotify"] for each in visitor.shown()] == [False]
    assert len(visitor.desktop.shown) == 1
    assert {event: receipt.occurred_at for event, receipt in receipts_of(sent).items()} == {
        event: receipt.occurred_at for event, receipt in before.items()
    }


def test_what_happens_offline_is_reported_with_its_time_once_the_browser_is_online(
    far_visitor, client, line, receipts_of
):
    sent = send(client, far_visitor.subscribe(), title="In a tunnel", body="")["notification_id"]
    line.cut()
    far_visitor.receive()
    far_visitor.desktop.close(far_visitor.desktop.wait_for("In a tunnel"))
    far_visitor.wait_until_kept(["displayed", "closed"])
    before = only_delivery_of(client, sent)

    line.mend()
    far_visitor.page.evaluate("dispatchEvent(new Event('online'))")

    until(lambda: receipts_of(sent).keys() == {"displayed", "closed"}, "both receipts")
    far_visitor.wait_until_kept([])
    displayed, closed = receipts_of(sent)["displayed"], receipts_of(sent)["closed"]
    assert (before["status"], before["delivered_at"]) == ("sent", None)
    assert datetime.fromisoformat(only_delivery_of(client, sent)["delivered_at"]) == displayed.occurred_at
    assert displayed.occurred_at < closed.occurred_at < closed.received_at


def test_messages_that_come_together_can_all_be_clicked_and_are_counted_on_the_apps_icon(
    visitor, client, receipts_of
):
    subscription_id = visitor.subscribe()
    sent = [send(client, subscription_id, title=f"Part {part}", body="")["notification_id"] for part in range(8)]

    for _ in sent:
        visitor.receive()

    alerts = [visitor.desktop.wait_for(f"Part {part}") for part in range(8)]
    for notification_id in sent:
        wait_until_delivered(client, notification_id)
    until(lambda: visitor.look_into("badges")[-1] == 8, "the number of all")
    for alert in alerts:
        visitor.desktop.click(alert)
    until(lambda: all("clicked" in receipts_of(notification_id) for notification_id in sent), "all clicks")
    until(lambda: visitor.look_into("badges")[-1] == 0, "no badge any more")


def test_neither_an_open_page_nor_a_running_worker_is_needed(visitor, client, chromium, receipts_of):
    subscription_id = visitor.subscribe()
    sent = send(client, subscription_id, title="Nobody is here", body="", actions=REPLY)["notification_id"]
    visitor.page.close()

    chromium.stop_workers()
    visitor.receive()
    shown = visitor.desktop.wait_for("Nobody is here")
    wait_until_delivered(client, sent)
    chromium.stop_workers()
    visitor.desktop.click(shown, "Reply")

    visitor.wait_for_tab(f"{visitor.origin}/reply")
    until(lambda: receipts_of(sent).keys() == {"displayed", "clicked"}, "both receipts")
