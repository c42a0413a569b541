"""The VAPID key is rotated twice while browsers subscribe and broadcasts run, the service restarted in between.

The push services here are strict, as the real ones are: a message signed with another key than the browser's is
refused. Every browser gets every broadcast after it subscribed, also one whose page held the key from before.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from alembic import command
from sqlalchemy import text

from app.db.session import transaction
from app.push.keys import VapidKey, encode_base64url
from app.simulator import Browser, Simulator
from tests.drill.processes import WORKER, Api
from tests.drill.push_service import PushService
from tests.drill.service import Say, Service, service_for
from tests.support.api import SERVICE_HEADERS
from tests.support.databases import StoppablePostgres, alembic_config, temporary_database

BROWSERS = 60  # at first; as many come later
WITH_AN_OLD_PAGE = 10  # who speak up after one rotation, and as many after both
SERVICES = ("fcm", "mozilla", "apple", "wns")
SECONDS_AT_A_PAGE = 0.5  # at most, between subscribing in the browser and telling us
SECONDS_BETWEEN_BROADCASTS = 0.5

MISMATCHED = "SELECT count(*) FROM push_subscriptions WHERE key_mismatch_at IS NOT NULL OR gone_at IS NOT NULL"
STORED_KEYS = """
    SELECT endpoint, public_key
    FROM push_subscriptions AS subscription JOIN push_vapid_keys AS key ON key.id = subscription.vapid_key_id
"""


@pytest.fixture
def service(
    request: pytest.FixtureRequest,
    drill_postgres: StoppablePostgres,
    drill_push_service: PushService,
    tmp_path: Path,
    seed: int,
    say: Say,
) -> Iterator[Service]:
    """A service to which nobody is subscribed."""
    say(f"{request.node.name}: seed {seed}")
    with temporary_database(drill_postgres.url) as url:
        command.upgrade(alembic_config(url), "head")
        with service_for(
            database_url=url,
            push_service=drill_push_service,
            recipients=0,
            directory=tmp_path,
            random=Random(f"{seed} {request.node.name}"),
            say=say,
        ) as service:
            yield service


class Audience:
    """Browsers at strict push services, and what was broadcast since each of them is known."""

    def __init__(self, simulator: Simulator, start: Callable[[], Api], random: Random) -> None:
        self.simulator = simulator
        self.random = random
        self.known_since: dict[Browser, float] = {}
        self.broadcasts: list[float] = []
        self._start = start
        self._api = start()
        self._http = httpx.Client(headers=dict(SERVICE_HEADERS), timeout=60, trust_env=False)

    def restart_the_api(self) -> None:
        self._api.clean_up()
        self._api = self._start()

    def open_page(self) -> Browser:
        """Subscribe a browser with the key of now, without telling the service yet."""
        key = self._ask("GET", "/vapid/public-key").json()["public_key"]
        return self.simulator.subscribe(self.random.choice(SERVICES), application_server_key=key)

    def tell(self, browser: Browser, *, names_the_key: bool) -> None:
        assert browser.application_server_key is not None
        key = {"application_server_key": encode_base64url(browser.application_server_key)} if names_the_key else {}
        self._ask("POST", "/subscriptions/", json={**browser.subscription, **key})
        self.known_since[browser] = time.monotonic()

    def come(self, stop: threading.Event) -> None:
        """Let one browser after another come, until told to stop."""
        while not stop.is_set():
            browser = self.open_page()
            time.sleep(self.random.uniform(0, SECONDS_AT_A_PAGE))
            self.tell(browser, names_the_key=self.random.random() < 0.5)

    def broadcast(self) -> None:
        number, asked_at = len(self.broadcasts), time.monotonic()
        self._ask(
            "POST",
            "/notifications/broadcast/",
            json={"title": str(number), "body": "Nobody is to be lost", "ttl": 3600},
            headers={"Idempotency-Key": f"broadcast-{number}"},
        )
        self.broadcasts.append(asked_at)

    def broadcast_often(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.broadcast()
            stop.wait(SECONDS_BETWEEN_BROADCASTS)

    def lost(self) -> list[tuple[str, Counter[str]]]:
        """Return who missed a broadcast or got one twice, and how often they got each."""
        faults = []
        for browser, since in self.known_since.items():
            got = Counter(message.json()["title"] for message in browser.received)
            wanted = [str(number) for number, asked_at in enumerate(self.broadcasts) if asked_at > since]
            if browser.undecryptable or any(got[title] != 1 for title in wanted) or max(got.values()) > 1:
                faults.append((browser.service.value, got))
        return faults

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask until there is an answer: the service is just restarted, perhaps."""
        while True:
            try:
                answer = self._http.request(method, self._api.url + path, **options)
            except httpx.TransportError:
                time.sleep(0.1)
                continue
            if answer.status_code not in (409, 503):
                assert answer.status_code < 300, answer.text
                return answer
            time.sleep(0.1)


def test_rotating_keys_loses_nobody(service: Service, push_service: Simulator, push_ca_file: Path) -> None:
    pair = VapidKey.generate()
    variables = {
        "VAPID_PRIVATE_KEY": pair.export_private(),
        "VAPID_PUBLIC_KEY": pair.public,
        "PUSH_CA_FILE": str(push_ca_file),
    }
    audience = Audience(push_service, lambda: service.start_api(**variables), service.random)
    worker = service.start_worker(command=WORKER, **variables)
    for number in range(BROWSERS):
        audience.tell(audience.open_page(), names_the_key=number % 2 == 0)
    service.say(f"{BROWSERS} browsers are subscribed")
    stop = threading.Event()

    with ThreadPoolExecutor(4) as threads:
        tasks = (audience.come, audience.come, audience.broadcast_often)
        running = [threads.submit(task, stop) for task in tasks]
        try:
            old_pages: list[Browser] = []
            for rotation in (1, 2):
                old_pages += [audience.open_page() for _ in range(2 * WITH_AN_OLD_PAGE)]
                _until_broadcast(service, audience, more=2)
                rotated = service.run("app.cli", "keys", "rotate")
                assert rotated.returncode == 0, rotated.stderr
                # Half of the first ones speak up only after the second rotation.
                for browser in [old_pages.pop() for _ in range(WITH_AN_OLD_PAGE)]:
                    audience.tell(browser, names_the_key=False)
                service.say(f"rotation {rotation}: {len(audience.known_since)} browsers are subscribed")
                _until_broadcast(service, audience, more=2)
                if rotation == 1:
                    audience.restart_the_api()
                    assert worker.stop() == 0
                    worker = service.start_worker(command=WORKER, **variables)
                    service.say("restarted, with the same variables")
            for browser in old_pages:
                audience.tell(browser, names_the_key=False)
            _until_broadcast(service, audience, more=2)
        finally:
            stop.set()
        for each in running:
            each.result()
    audience.broadcast()
    service.until_finished()

    keys = json.loads(service.run("app.cli", "keys", "status", "--json").stdout)
    by_key = " + ".join(str(key["active_subscriptions"]) for key in keys)
    refused = sum(post.status != 201 for browser in audience.known_since for post in browser.posts)
    messages = sum(len(browser.received) for browser in audience.known_since)
    service.say(
        f"{len(audience.known_since)} browsers, {len(audience.broadcasts)} broadcasts: {messages:,} messages came,"
        f" {refused} were signed with another key first; {by_key} subscriptions of the three keys"
    )
    service.assert_the_ledger_adds_up()
    assert audience.lost() == []
    assert refused > 0, "somebody had an old page"
    assert service.scalar(MISMATCHED) == 0
    assert [key["state"] for key in keys] == ["active", "signing", "signing"]
    assert sum(key["active_subscriptions"] for key in keys) == len(audience.known_since)
    assert _keys_as_stored(service) == {
        browser.endpoint: encode_base64url(browser.application_server_key or b"")
        for browser in audience.known_since
    }


def _until_broadcast(service: Service, audience: Audience, *, more: int) -> None:
    goal = len(audience.broadcasts) + more
    service.until(lambda: len(audience.broadcasts) >= goal, f"{more} more broadcasts")


def _keys_as_stored(service: Service) -> dict[str, str]:
    with transaction(service.sessions) as session:
        return {row.endpoint: row.public_key for row in session.execute(text(STORED_KEYS))}
