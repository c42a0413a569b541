"""The API's documentation in a real browser, which has no way out: all it shows came from the service."""

from tests.support.bidi import Browser


def test_the_documentation_shows_every_operation_and_can_try_one(browser: Browser, origin: str) -> None:
    complaints = len(browser.console)
    browser.open(f"{origin}/docs")
    browser.wait_for("document.querySelectorAll('.opblock').length >= 16")

    browser.click("#operations-vapid-vapid_get_public_key .opblock-summary-control")
    browser.wait_for("!!document.querySelector('.try-out__btn')")
    browser.click(".try-out__btn")
    browser.wait_for("!!document.querySelector('.execute')")
    browser.click(".execute")

    answer = "document.querySelector('.live-responses-table .microlight')?.textContent"
    assert "public_key" in browser.wait_for(answer)
    loaded = browser.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [address for address in loaded if not address.startswith(origin)] == []
    assert browser.console[complaints:] == []
