"""A site elsewhere than the service, in a real Firefox: its page and its worker take the SDK from there."""

from tests.support.api import make_token
from tests.support.demo_page import send
from tests.support.waiting import until


def test_a_site_of_another_origin_is_notified_and_reports(browser, website, server, client, receipts_of):
    site, friend = website.origins[-2:]
    token = make_token(user_id="a reader of the site")
    browser.open(f"{site}/#service={server.url}&token={token}&friend={friend}")
    browser.wait_for("window.ready.then(() => true)")
    status = browser.evaluate("push.subscribe({ topics: ['blog'] })")

    sent = send(client, status["id"], title="From elsewhere", body="", url=f"{friend}/story")["notification_id"]
    browser.click_alert(browser.wait_for_alert("From elsewhere"))

    browser.wait_for_tab(f"{friend}/story")
    until(lambda: receipts_of(sent).keys() == {"displayed", "clicked"}, "both receipts")
    assert (status["state"], status["topics"]) == ("on", ["blog"])
