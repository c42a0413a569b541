"""An audience that a push service calls gone, or refuses to hear of, by mistake: nobody is erased.

Once the mistake is mended, everybody gets the next notification; and forged subscriptions set nothing of it off.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from random import Random
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, insert, text

from app.db.session import transaction
from app.delivery import guard
from app.ids import new_id
from app.keyring.service import Keyring
from app.models import DEFAULT_TENANT_ID, Subscription, VapidKey
from app.push.keys import VapidKey as KeyPair
from app.simulator import Browser, Simulator
from tests.drill.push_service import PushService
from tests.drill.service import Say, Service, service_for
from tests.support.api import SECRET_KEY
from tests.support.delivery import is_somebody_waiting

ESTABLISHED, BROWSERS, FORGED = 5000, 100, 1000

LEAVE_A_PART = """
    DELETE FROM push_subscriptions
    WHERE id NOT IN (SELECT id FROM push_subscriptions ORDER BY md5(endpoint) LIMIT :count)
"""

ESTABLISH = "UPDATE push_subscriptions SET first_accepted_at = created_at"
HELD = "SELECT count(*) FROM push_subscriptions WHERE quarantine_id IS NOT NULL AND gone_at IS NOT NULL"
ACTIVE = "SELECT count(*) FROM push_subscriptions WHERE enabled AND gone_at IS NULL AND deleted_at IS NULL"
OPEN = "SELECT count(*) FROM push_quarantines WHERE ended_at IS NULL"
REFUSING = "SELECT count(*) FROM push_service_states WHERE reason = 'refused'"
PUT_OFF = "SELECT count(*) FROM push_delivery_logs WHERE status = 'pending' AND reason = 'key_mismatch'"
HOLD_THE_LAST = text(
    "SELECT FROM push_subscriptions WHERE endpoint_host = :host ORDER BY id DESC LIMIT 1 FOR UPDATE"
)


@pytest.fixture
def strict(
    request: pytest.FixtureRequest,
    database_url: str,
    drill_push_service: PushService,
    push_ca_file: Path,
    tmp_path: Path,
    seed: int,
    say: Say,
) -> Iterator[Service]:
    """A service to which nobody is subscribed; the push services of `push_service` are as strict as real ones."""
    say(f"{request.node.name}: seed {seed}")
    with service_for(
        database_url=database_url,
        push_service=drill_push_service,
        recipients=BROWSERS,
        directory=tmp_path,
        random=Random(f"{seed} {request.node.name}"),
        say=say,
    ) as service:
        yield service


def test_everybody_is_called_gone_by_mistake(service: Service) -> None:
    establish(service)
    api = service.start_api()
    service.start_worker()
    service.push_service.misbehaves(action="answer", status=410)
    assert service.broadcast(api).status_code == 202
    service.until_finished()
    service.until(lambda: service.scalar(HELD) == service.recipients, "the guard holds them all")
    health = httpx.get(f"{api.url}/health/", timeout=60).json()
    service.say(
        f"410 for everybody: {service.scalar(HELD):,} are held; audience: {health['dependencies']['audience']}"
    )
    assert health["dependencies"]["audience"]["status"] == "degraded"

    service.push_service.behaves()
    restored = kill_a_restore_in_the_middle(service)
    service.say(f"a restore was killed after {restored:,}")
    again = service.run("app.cli", "quarantine", "restore", "--all")

    assert (again.returncode, service.scalar(OPEN)) == (0, 0), again.stdout
    assert service.scalar(ACTIVE) == service.recipients
    assert service.broadcast(api).status_code == 202
    service.until_finished()
    assert service.account().by_status == {"expired": service.recipients, "sent": service.recipients}


def kill_a_restore_in_the_middle(service: Service) -> int:
    """Return how many were restored when it was killed: it had come to somebody whose row is held."""
    usual = service.push_service.hosts[0]
    with transaction(service.sessions) as holding:
        holding.execute(HOLD_THE_LAST, {"host": usual})
        restore = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "quarantine", "restore", "--host", usual],
            env={
                **os.environ,
                "DATABASE_URL": service.database_url,
                "DATA_DIR": str(service.directory / "restore"),
            },
            stdout=subprocess.DEVNULL,
        )
        service.until(
            lambda: service.scalar(ACTIVE) > 0 and is_somebody_waiting(service.sessions), "it is at the end"
        )
        restore.send_signal(signal.SIGKILL)
        restore.wait()
    restored = int(service.scalar(ACTIVE))
    assert 0 < restored < service.recipients
    assert service.scalar(OPEN) == 2
    return restored


def test_everybody_is_refused_by_mistake(service: Service) -> None:
    establish(service)
    api = service.start_api()
    service.start_worker()
    service.push_service.misbehaves(action="answer", status=403)
    assert service.broadcast(api).status_code == 202
    service.until(lambda: service.scalar(REFUSING) == 2, "both push services are left alone")
    put_off, posts = service.scalar(PUT_OFF), service.push_service.posts
    service.say(f"403 for everybody: {posts:,} posts, then a pause; {put_off:,} are put off")

    service.push_service.behaves()
    released = service.run("app.cli", "quarantine", "release", "--all")
    assert released.returncode == 0, released.stderr
    service.until_finished()

    assert posts < service.recipients, "nobody is asked in vain any more"
    assert service.scalar(ACTIVE) == service.recipients
    assert service.scalar(REFUSING) == 0
    assert service.account().by_status == {"sent": service.recipients}


def test_a_wrong_subject_loses_nobody(strict: Service, push_service: Simulator, push_ca_file: Path) -> None:
    key = key_of(strict)
    browsers = push_service.subscribe_many(BROWSERS, "apple", application_server_key=key.public_key)
    subscribe(strict, browsers, key.id, is_established=True)
    ca_file = str(push_ca_file)
    api = strict.start_api(PUSH_CA_FILE=ca_file)
    wrong = strict.start_worker(PUSH_CA_FILE=ca_file, VAPID_SUBJECT="mailto:push@localhost")
    assert strict.broadcast(api).status_code == 202
    strict.until(lambda: strict.scalar(REFUSING) == 1, "the push service is left alone")
    refused = sum(bool(browser.posts) for browser in browsers)

    assert wrong.stop() == 0
    strict.start_worker(PUSH_CA_FILE=ca_file)
    assert strict.run("app.cli", "quarantine", "release", "--all").returncode == 0
    strict.until_finished()
    assert strict.broadcast(api).status_code == 202
    strict.until_finished()

    strict.say(
        f"{refused} of {BROWSERS} were refused for the subject; with another everybody got both notifications"
    )
    assert [len(browser.received) for browser in browsers] == [2] * BROWSERS
    assert refused >= guard.ENOUGH_GONE
    strict.assert_the_ledger_adds_up()


@pytest.mark.parametrize("way", ["a foreign key", "nowhere"])
def test_a_thousand_forged_beside_the_real_ones(
    strict: Service, push_service: Simulator, push_ca_file: Path, way: str
) -> None:
    key = key_of(strict)
    foreign = KeyPair.generate().public if way == "a foreign key" else key.public_key
    forged = push_service.subscribe_many(FORGED, application_server_key=foreign)
    if way == "nowhere":
        for browser in forged:
            browser.unsubscribe(status=404)
    real = push_service.subscribe_many(BROWSERS, application_server_key=key.public_key)
    subscribe(strict, forged[: FORGED // 2], key.id, is_established=False)
    subscribe(strict, real, key.id, is_established=True)
    subscribe(strict, forged[FORGED // 2 :], key.id, is_established=False)
    api = strict.start_api(PUSH_CA_FILE=str(push_ca_file))
    strict.start_worker(PUSH_CA_FILE=str(push_ca_file))

    for _ in range(2):
        assert strict.broadcast(api).status_code == 202
        strict.until_finished()
        guard.look(strict.sessions)

    statuses = {post.status or 0 for browser in forged for post in browser.posts}
    strict.say(f"{FORGED:,} forged, which lead to {way}: {sorted(statuses)}")
    assert [len(browser.received) for browser in real] == [2] * BROWSERS
    assert statuses == {403 if way == "a foreign key" else 404}
    assert (strict.scalar(OPEN), strict.scalar("SELECT count(*) FROM push_service_states")) == (0, 0)
    strict.assert_the_ledger_adds_up()


def establish(service: Service) -> None:
    """Let a part of the audience be all of it, and everybody in it have been accepted before."""
    with transaction(service.sessions) as session:
        session.execute(text(LEAVE_A_PART), {"count": ESTABLISHED})
        session.execute(text(ESTABLISH))
        service.recipients = ESTABLISHED


def key_of(service: Service) -> VapidKey:
    with transaction(service.sessions) as session:
        return Keyring(SECRET_KEY).synchronise(session, None)


def subscribe(service: Service, browsers: Sequence[Browser], key_id: UUID, *, is_established: bool) -> None:
    rows = [
        {
            "id": new_id(),
            "tenant_id": DEFAULT_TENANT_ID,
            "endpoint": browser.endpoint,
            "endpoint_hash": sha256(browser.endpoint.encode()).digest(),
            "endpoint_host": urlsplit(browser.endpoint).netloc,
            **browser.subscription["keys"],
            "vapid_key_id": key_id,
            "key_is_assumed": False,
        }
        for browser in browsers
    ]
    with transaction(service.sessions) as session:
        session.execute(insert(Subscription).values(first_accepted_at=func.now() if is_established else None), rows)
