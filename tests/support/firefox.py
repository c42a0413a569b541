"""A real Firefox for tests: headless, a fresh profile, no traffic but loopback, driven over WebDriver BiDi.

Driving it from outside keeps test hooks out of our pages: a test presses the buttons that people press.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

START_TIMEOUT_SECONDS = 120
STOP_TIMEOUT_SECONDS = 30
POLL_SECONDS = 0.02

# Names and meanings: about:config, or modules/libpref/init/StaticPrefList.yaml in Firefox's source.
QUIET: Mapping[str, str | int | bool] = {
    # WebDriver BiDi's recommended preferences turn push off (dom.push.connection.enabled).
    "remote.prefs.recommended": False,
    # Loopback is never proxied, all else is, to a port where nobody listens: updates, telemetry, safe
    # browsing and the rest reach nothing.
    "network.proxy.type": 1,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
    # One process for all sites: every test has a site of its own, and processes take long to start.
    "dom.ipc.processCount": 1,
    "dom.ipc.processPrelaunch.enabled": False,
    "fission.autostart": False,
    "network.disable-localhost-when-offline": True,
    "network.trr.mode": 5,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.aboutwelcome.enabled": False,
    "browser.newtabpage.enabled": False,
    "browser.safebrowsing.downloads.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.search.update": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "startup.homepage_welcome_url": "about:blank",
    "termsofuse.bypassNotification": True,
    "toolkit.telemetry.reportingpolicy.firstRun": False,
}


def find_firefox() -> str | None:
    return shutil.which("firefox-esr") or shutil.which("firefox")


def push_preferences(push_server_url: str) -> dict[str, str | int | bool]:
    """Make Firefox use this push server, over ws, and grant notifications without asking.

    They are shown in windows of Firefox's own: without a desktop, showNotification() fails otherwise.
    """
    return {
        "alerts.useSystemBackend": False,
        "dom.push.retryBaseInterval": 50,  # milliseconds; five seconds would be much for a test
        "dom.push.serverURL": push_server_url,
        "dom.push.testing.allowInsecureServerURL": True,
        "permissions.default.desktop-notification": 1,
    }


class Firefox:
    """Runs from `with` to its end, in a process group of its own; `home` must be an empty directory.

    `bidi_address` is where a `tests.support.bidi.Browser` connects.
    """

    def __init__(self, binary: str, home: Path, preferences: Mapping[str, str | int | bool]) -> None:
        self._home = home
        self._profile = home / "profile"
        self._profile.mkdir()
        lines = [
            f"user_pref({json.dumps(name)}, {json.dumps(value)});"
            for name, value in {**QUIET, **preferences}.items()
        ]
        (self._profile / "user.js").write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._command = [
            binary,
            "--headless",
            "--no-remote",
            "--profile",
            str(self._profile),
            "--remote-debugging-port=0",
            "--remote-allow-system-access",  # to see the notifications' windows
            "about:blank",
        ]
        self.bidi_address = ""

    def __enter__(self) -> Self:
        # HOME is the test's own: Firefox refuses, as root, a home that is somebody else's.
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._home),
            "LANG": "C.UTF-8",
            "MOZ_CRASHREPORTER_DISABLE": "1",
        }
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                env=environment,
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self.bidi_address = self._wait_for_bidi()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def log(self) -> str:
        """What Firefox wrote to stdout and stderr."""
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    @property
    def _log_path(self) -> Path:
        return self._home / "firefox.log"

    def _wait_for_bidi(self) -> str:
        announcement = self._profile / "WebDriverBiDiServer.json"
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                server = json.loads(announcement.read_text(encoding="utf-8"))
            except (FileNotFoundError, json.JSONDecodeError):  # not there, or not written to its end
                time.sleep(POLL_SECONDS)
            else:
                return f"ws://{server['ws_host']}:{server['ws_port']}"
        raise AssertionError(f"Firefox did not start (exit status {self._process.poll()}):\n{self.log}")

    def _stop(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(STOP_TIMEOUT_SECONDS)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
