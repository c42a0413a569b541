"""Subscriptions that end, change or are forgotten, in a real Firefox: notifications go on coming, unasked."""

import pytest

from tests.support.demo_page import (
    SUBSCRIPTION,
    TICKED,
    get,
    send,
    subscribe,
    subscriber_of,
    tick,
    unsubscribe,
    visit,
    wait_until_delivered,
)
from tests.support.waiting import until

SUBSCRIBED_KEY = f"""{SUBSCRIPTION}
    .then(({{ options }}) => new Uint8Array(options.applicationServerKey).toBase64({{ alphabet: "base64url" }}))
    .then((key) => key.replaceAll("=", ""))"""
DROP_SUBSCRIPTION = f"{SUBSCRIPTION}.then((subscription) => subscription.unsubscribe())"
DROP_DATABASE = """new Promise((resolve, reject) => {
    const request = indexedDB.deleteDatabase("push-notification-service");
    request.onsuccess = () => resolve(true);
    request.onerror = () => reject(request.error);
})"""


def is_shown(browser, client, subscription_id, title):
    """Send a notification, and wait until it is shown and reported."""
    sent = send(client, subscription_id, title=title, body="")["notification_id"]
    browser.wait_for_alert(title)
    wait_until_delivered(client, sent)


def test_a_rotation_moves_people_over_at_their_next_visit(page, subscriber, client, origin, rotate_keys):
    tick(page, "releases")
    rotate_keys()
    is_shown(page, client, subscriber.id, "Still under the old key")

    visit(page, origin, until_it_is="on")

    after = subscriber_of(page)
    assert after.id == subscriber.id
    assert after.endpoint != subscriber.endpoint
    assert page.evaluate(SUBSCRIBED_KEY) == get(client, "/vapid/public-key")["public_key"]
    assert page.evaluate(TICKED) == ["blog", "releases"]
    assert get(client, f"/subscriptions/{after.id}/")["topics"] == ["blog", "releases"]
    is_shown(page, client, after.id, "Under the new key")


def test_a_push_service_that_lost_everybody_is_subscribed_at_again_without_a_page(
    page, subscriber, client, origin, autopush
):
    page.close_page()

    autopush.lose_everybody()

    until(
        lambda: get(client, f"/subscriptions/{subscriber.id}/")["endpoint"] != subscriber.endpoint,
        "the new endpoint, from pushsubscriptionchange",
    )
    is_shown(page, client, subscriber.id, "At the new endpoint")
    visit(page, origin, until_it_is="on")
    assert subscriber_of(page).id == subscriber.id


def test_what_only_the_push_service_forgot_is_made_again_at_the_next_visit(
    page, subscriber, client, origin, autopush
):
    autopush.lose(subscriber.endpoint)
    [lost] = send(client, subscriber.id, title="Lost", body="")["deliveries"]

    visit(page, origin, until_it_is="on")

    after = subscriber_of(page)
    assert (lost["status"], lost["reason"]) == ("expired", "gone")
    assert after.id == subscriber.id
    assert after.endpoint != subscriber.endpoint
    is_shown(page, client, after.id, "Found again")


@pytest.mark.parametrize(
    "vanishes", [DROP_SUBSCRIPTION, DROP_DATABASE], ids=["the subscription", "what the page remembers"]
)
def test_what_vanished_from_the_browser_is_made_again_at_the_next_visit(page, subscriber, client, origin, vanishes):
    page.evaluate(vanishes)

    visit(page, origin, until_it_is="on")

    after = subscriber_of(page)
    assert after.id == subscriber.id
    is_shown(page, client, after.id, f"Back again, {vanishes[:20]}")


def test_what_the_service_forgot_is_stored_again_at_the_next_visit(page, subscriber, client, origin):
    assert client.delete(f"/subscriptions/{subscriber.id}/").status_code in (200, 204)

    visit(page, origin, until_it_is="on")

    after = subscriber_of(page)
    assert after.endpoint == subscriber.endpoint
    assert get(client, f"/subscriptions/{after.id}/")["topics"] == ["blog"]
    is_shown(page, client, after.id, "Remembered")


def test_turning_off_without_a_network_is_told_to_the_service_at_the_next_visit(browser, line, far_site, client):
    visit(browser, far_site, until_it_is="off")
    stored = f"/subscriptions/{subscribe(browser).id}/"
    line.cut()
    unsubscribe(browser)
    left = (browser.evaluate(SUBSCRIPTION), client.get(stored).status_code)

    line.mend()
    visit(browser, far_site, until_it_is="off")

    assert left == (None, 200)
    assert client.get(stored).status_code == 404


def test_a_permission_taken_away_ends_it_and_given_back_it_waits_for_a_click(page, subscriber, client, origin):
    permission = "Services.perms.{}(Services.scriptSecurityManager.createContentPrincipalFromOrigin(origin), {})"
    deny = permission.format("addFromPrincipal", "'desktop-notification', Services.perms.DENY_ACTION")
    forget = permission.format("removeFromPrincipal", "'desktop-notification'")
    page.evaluate_as_firefox(f"void {deny}", origin=origin)

    visit(page, origin, until_it_is="blocked")
    is_stored_while_blocked = client.get(f"/subscriptions/{subscriber.id}/").status_code
    page.evaluate_as_firefox(f"void {forget}", origin=origin)
    visit(page, origin, until_it_is="off")

    assert is_stored_while_blocked == 404
    assert page.evaluate(SUBSCRIPTION) is None
    again = subscribe(page)
    is_shown(page, client, again.id, "Wanted again")
