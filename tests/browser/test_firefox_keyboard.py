"""The demo page by the keyboard alone, as people use it who have no mouse or do not see one."""

from tests.support.bidi import ENTER, SPACE, TAB, Browser
from tests.support.demo_page import IS_IDLE, STATE, TICKED

FOCUSED = "document.activeElement.matches(selector)"
DISPLAYED = "document.querySelector('#pushes [data-step=displayed]')?.dataset.done === 'true'"


def go_to(page: Browser, selector: str) -> None:
    """Press Tab until this element has the focus."""
    for _ in range(40):
        page.press(TAB)
        if page.evaluate(FOCUSED, selector=selector):
            return
    raise AssertionError(f"Tab does not lead to {selector}")


def test_everything_on_the_page_can_be_done_with_the_keyboard(page):
    go_to(page, "#subscribe")
    page.press(ENTER)
    page.wait_for(f"{STATE} === 'on' && {IS_IDLE}")
    go_to(page, "input[value=news]")
    page.press(SPACE)
    page.wait_for(IS_IDLE)
    go_to(page, "#send [name=title]")
    page.press(*"By keys")
    go_to(page, "#send button")
    page.press(ENTER)

    assert page.wait_for_alert("By keys").text == "It works."
    page.wait_for(DISPLAYED)
    assert page.evaluate(TICKED) == ["blog", "news"]
