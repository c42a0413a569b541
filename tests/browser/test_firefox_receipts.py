"""What a real Firefox reports of a notification: shown, clicked, closed; also later, when it could not at once."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.demo_page import (
    only_delivery_of,
    send,
    subscribe,
    visit,
    wait_until_delivered,
)
from tests.support.notification_area import NotificationArea
from tests.support.outbox import KEPT
from tests.support.waiting import until

CLOCK_TICK = timedelta(milliseconds=10)  # browsers tell the time less exactly than they know it


def test_a_click_is_reported_and_only_a_dismissal_is_a_closing(page, subscriber, client, receipts_of):
    replaced = send(client, subscriber.id, title="0 : 1", body="", tag="score")["notification_id"]
    page.wait_for_alert("0 : 1")
    clicked = send(client, subscriber.id, title="1 : 1", body="", tag="score")["notification_id"]
    page.click_alert(page.wait_for_alert("1 : 1"))
    until(lambda: "clicked" in receipts_of(clicked), "the click")
    # Firefox calls both of them closed, and that is before this one is shown.
    later = send(client, subscriber.id, title="2 : 1", body="")["notification_id"]
    wait_until_delivered(client, later)

    receipts = receipts_of(clicked)

    assert receipts_of(replaced).keys() == {"displayed"}
    assert receipts.keys() == {"displayed", "clicked"}
    assert receipts["clicked"].action is None
    assert only_delivery_of(client, clicked)["status"] == "delivered"


def test_waving_it_away_is_reported(page, subscriber, client, receipts_of):
    sent = send(client, subscriber.id, title="Not now", body="")["notification_id"]

    page.close_alert(page.wait_for_alert("Not now"))

    until(lambda: receipts_of(sent).keys() == {"displayed", "closed"}, "both receipts")
    assert only_delivery_of(client, sent)["status"] == "delivered"


def test_a_button_leads_where_it_should_and_is_reported_by_its_name(page, subscriber, client, origin, receipts_of):
    buttons = [
        {"action": "read", "title": "Read", "url": "/demo?read"},
        {"action": "later", "title": "Later", "url": "/demo?later"},
    ]
    with NotificationArea(page) as area:
        sent = send(client, subscriber.id, title="Two ways", body="Choose", url="/demo?neither", actions=buttons)
        shown = area.wait_for("Two ways")
        area.click("Two ways", action="later")

        page.wait_for_tab(f"{origin}/demo?later")
        until(lambda: "clicked" in receipts_of(sent["notification_id"]), "the click")

    assert shown["actions"] == [{"action": "read", "title": "Read"}, {"action": "later", "title": "Later"}]
    assert receipts_of(sent["notification_id"])["clicked"].action == "later"


def test_a_page_need_not_be_open(page, subscriber, client, receipts_of):
    page.close_page()

    sent = send(client, subscriber.id, title="Nobody is here", body="")["notification_id"]
    page.close_alert(page.wait_for_alert("Nobody is here"))

    until(lambda: receipts_of(sent).keys() == {"displayed", "closed"}, "both receipts")
    assert wait_until_delivered(client, sent)["delivered_at"] is not None


def test_an_open_page_reports_as_soon_as_the_browser_is_online_again(
    page, subscriber, client, autopush, receipts_of
):
    sent = send(client, subscriber.id, title="Before the tunnel", body="")["notification_id"]
    alert = page.wait_for_alert("Before the tunnel")
    wait_until_delivered(client, sent)
    hellos = len(autopush.journal.hellos)

    with page.offline():
        page.close_alert(alert)
        page.wait_for(f"{KEPT}.then((events) => events.length === 1)")

    until(lambda: "closed" in receipts_of(sent), "the closing")
    page.wait_for(f"{KEPT}.then((events) => events.length === 0)")
    autopush.wait_for(lambda journal: len(journal.hellos) > hellos, "Firefox, for the tests that follow")


@pytest.mark.parametrize("chance", ["a visit", "a push"])
def test_what_happens_while_the_service_is_out_of_reach_is_reported_when_there_is_a_chance(
    browser, line, far_site, client, receipts_of, chance
):
    visit(browser, far_site, until_it_is="off")
    subscriber = subscribe(browser)
    line.cut()
    sent = send(client, subscriber.id, title=f"Offline until {chance}", body="")["notification_id"]
    alert = browser.wait_for_alert(f"Offline until {chance}")
    browser.wait_for(f"{KEPT}.then((events) => events.length === 1)")
    shown_by = datetime.now(UTC)
    browser.close_alert(alert)
    browser.wait_for(f"{KEPT}.then((events) => events.length === 2)")
    before = only_delivery_of(client, sent)

    mended_at = datetime.now(UTC)
    line.mend()
    if chance == "a visit":
        visit(browser, far_site, until_it_is="on")
    else:
        send(client, subscriber.id, title="And another", body="")

    until(lambda: receipts_of(sent).keys() == {"displayed", "closed"}, "both receipts")
    after, receipts = only_delivery_of(client, sent), receipts_of(sent)
    displayed, closed = receipts["displayed"], receipts["closed"]
    assert (before["status"], before["delivered_at"]) == ("sent", None)
    assert (after["status"], datetime.fromisoformat(after["delivered_at"])) == ("delivered", displayed.occurred_at)
    assert displayed.received_at - displayed.occurred_at >= mended_at - shown_by - CLOCK_TICK
    assert displayed.occurred_at <= closed.occurred_at
    browser.wait_for(f"{KEPT}.then((events) => events.length === 0)")
