"""A desktop's notification area, for a Firefox that runs without one: there notifications have buttons.

Firefox hands notifications to it as it does to Windows, macOS or GNOME (nsIAlertsService), and hears from it of
clicks. Firefox's own windows, which it shows where no desktop is, have neither buttons nor a place to stay.
"""

from typing import Any, Self
from uuid import uuid4

from tests.support.bidi import Browser
from tests.support.waiting import until

TAKE_THE_PLACE = """(() => {
    const shown = new Map();
    const end = (name) => {
        const { alert, listener } = shown.get(name) ?? {};
        if (shown.delete(name)) {
            listener.observe(null, "alertfinished", alert.cookie);
        }
    };
    const service = {
        QueryInterface: ChromeUtils.generateQI(["nsIAlertsService"]),
        showAlert(alert, listener) {
            shown.set(alert.name, { alert, listener });
            listener.observe(null, "alertshow", alert.cookie);
        },
        // It stays when its worker ends: only a worker's or a page's close() takes it away.
        closeAlert: (name, hasContextClosed) => hasContextClosed || end(name),
        getHistory: () => [...shown.keys()],
        teardown() {},
        pbmTeardown() {},
    };
    const contract = "@mozilla.org/alerts-service;1";
    const registrar = Components.manager.QueryInterface(Ci.nsIComponentRegistrar);
    const before = registrar.contractIDToCID(contract);
    const id = Services.uuid.generateUUID();
    const factory = {
        QueryInterface: ChromeUtils.generateQI(["nsIFactory"]),
        createInstance: (wanted) => service.QueryInterface(wanted),
    };
    registrar.registerFactory(id, "", contract, factory);
    const giveBack = () => {
        [...shown.keys()].forEach(end);
        registrar.unregisterFactory(id, factory);
        registrar.registerFactory(before, "", contract, null);
    };
    globalThis[place] = { shown, end, giveBack };
})()"""
SHOWN = """[...globalThis[place].shown.values()].map(({ alert }) => ({
    title: alert.title,
    text: alert.text,
    actions: alert.actions.map(({ action, title }) => ({ action, title })),
}))"""
CLICK = """(() => {
    const { shown, end } = globalThis[place];
    const [name, { alert, listener }] = [...shown].find(([, entry]) => entry.alert.title === title);
    listener.observe(action ? alert.getAction(action) : null, "alertclickcallback", alert.cookie);
    end(name);
})()"""


class NotificationArea:
    """Shows what Firefox wants shown from `with` to its end, and does what a person does there."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._place = f"notification-area-{uuid4().hex}"

    def __enter__(self) -> Self:
        self._do(TAKE_THE_PLACE)
        return self

    def __exit__(self, *_: object) -> None:
        self._do("globalThis[place].giveBack()")

    def wait_for(self, title: str) -> dict[str, Any]:
        """Return the notification of this title once it is shown: its title, text and actions."""
        until(lambda: self._find(title) is not None, f"a notification {title!r}")
        found = self._find(title)
        assert found is not None
        return found

    def click(self, title: str, *, action: str | None = None) -> None:
        """Click the notification, or its button with this action. It goes away, as on any desktop."""
        self._do(CLICK, title=title, action=action)

    def _find(self, title: str) -> dict[str, Any] | None:
        return next((each for each in self._do(SHOWN) if each["title"] == title), None)

    def _do(self, expression: str, **arguments: Any) -> Any:
        return self._browser.evaluate_as_firefox(expression, place=self._place, **arguments)
