"""Fixtures for the pipeline without HTTP: a pipeline over a fresh database, and subscribers at the simulator."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.orm import Session

from app.db.session import SessionFactory, transaction
from app.delivery import targeting
from app.delivery.claim import Work, begin
from app.delivery.inline import InlineLimits
from app.delivery.lease import lease_batch
from app.delivery.run import Pipeline
from app.ids import new_id
from app.keyring.service import Keyring, active_key
from app.models import DEFAULT_TENANT_ID, DeliveryLog, Subscription
from app.notifications import service
from app.notifications.schemas import BroadcastRequest, SendRequest
from app.notifications.sent import Sent
from app.push.endpoint import EndpointPolicy
from app.push.factory import create_sender
from app.push.sender import Timeouts
from app.simulator import Browser, Simulator
from app.workers.loop import DeliveryLoop

LIMITS = InlineLimits(max_recipients=1000, timeout_seconds=60)
NOTHING_INLINE = InlineLimits(max_recipients=0, timeout_seconds=1)
SECRET_KEY = "a-secret-of-the-tests-" + "x" * 32


@pytest.fixture(scope="session", autouse=True)
def _audiences_are_small_also_where_a_machine_is_slow() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(targeting, "COUNTED_WITHIN_MS", 20_000)
        yield


@pytest.fixture
def push_timeouts() -> Timeouts:
    """How long `pipeline` waits for a push service: override this where one does not answer."""
    return Timeouts()


@pytest.fixture
def pipeline(sessions: SessionFactory, push_ca_file: Path, push_timeouts: Timeouts) -> Iterator[Pipeline]:
    """A pipeline with its tenant's key in place, and the simulator's certificate trusted."""
    keyring = Keyring(SECRET_KEY)
    with transaction(sessions) as session:
        keyring.synchronise(session, None)
    sender = create_sender(
        "curl",
        policy=EndpointPolicy(allow_loopback=True),
        subject="mailto:tests@example.com",
        ca_file=push_ca_file,
        timeouts=push_timeouts,
    )
    pipeline = Pipeline(sessions, sender, keyring)
    yield pipeline
    sender.close()
    pipeline.inline.shutdown()


@dataclass(frozen=True)
class Subscriber:
    """A simulated browser and its row in the database."""

    id: UUID
    browser: Browser
    sessions: SessionFactory

    @property
    def row(self) -> Subscription:
        with transaction(self.sessions) as session:
            return session.get_one(Subscription, self.id)

    @property
    def log(self) -> DeliveryLog:
        """Its one delivery."""
        with transaction(self.sessions) as session:
            return session.scalars(select(DeliveryLog).where(DeliveryLog.subscription_id == self.id)).one()


@pytest.fixture
def subscribe(pipeline: Pipeline, push_service: Simulator) -> Callable[..., list[Subscriber]]:
    """Subscribe browsers: `subscribe(3, topics=["news"], service="apple")`."""

    def subscribe(
        count: int = 1, *, service: str = "fcm", host: str | None = None, **columns: Any
    ) -> list[Subscriber]:
        with transaction(pipeline.sessions) as session:
            key = active_key(session, DEFAULT_TENANT_ID)
            browsers = [
                push_service.subscribe(service=service, host=host, application_server_key=key.public_key)
                for _ in range(count)
            ]
            rows = [_row(browser, key.id, columns) for browser in browsers]
            session.execute(insert(Subscription), rows)
        return [
            Subscriber(row["id"], browser, pipeline.sessions) for row, browser in zip(rows, browsers, strict=True)
        ]

    return subscribe


def _row(browser: Browser, key_id: UUID, columns: dict[str, Any]) -> dict[str, Any]:
    subscription = browser.subscription
    return {
        "id": new_id(),
        "tenant_id": DEFAULT_TENANT_ID,
        "endpoint": subscription["endpoint"],
        "endpoint_hash": sha256(subscription["endpoint"].encode()).digest(),
        "endpoint_host": urlsplit(subscription["endpoint"]).netloc,
        **subscription["keys"],
        "vapid_key_id": key_id,
        "topics": [],
        **columns,
    }


def send(pipeline: Pipeline, *, limits: InlineLimits = LIMITS, **fields: Any) -> Sent:
    """Send a notification with these fields; without a target, to everybody."""
    content = {"title": "Hello", "body": "A message", **fields}
    is_targeted = any(name in content for name in ("topics", "user_ids", "subscription_ids"))
    request = SendRequest(**content) if is_targeted else BroadcastRequest(**content)
    sent = service.send(pipeline, request, tenant_id=DEFAULT_TENANT_ID, default_ttl_seconds=3600, limits=limits)
    assert isinstance(sent, Sent)
    return sent


def claim_batch(session: Session, batch_id: UUID) -> Work | None:
    """Claim the batch and begin it, as running it does."""
    lease = lease_batch(session, batch_id)
    return None if lease is None else begin(session, lease)


def finish_with_a_worker(pipeline: Pipeline) -> None:
    """Let a worker do all that is due."""
    loop = DeliveryLoop(pipeline)
    while loop.run_once():
        pass


def received(subscribers: Iterable[Subscriber]) -> list[int]:
    """Return how many messages the browser of each got."""
    return [len(subscriber.browser.received) for subscriber in subscribers]


def change(subscriber: Subscriber, **columns: Any) -> None:
    with transaction(subscriber.sessions) as session:
        session.execute(update(Subscription).where(Subscription.id == subscriber.id).values(**columns))


def live_rows(sessions: SessionFactory) -> list[Subscription]:
    """Return the subscriptions that nobody has deleted."""
    with transaction(sessions) as session:
        return list(session.scalars(select(Subscription).where(Subscription.deleted_at.is_(None))))


def ledger_adds_up(sessions: SessionFactory, sent: Sent) -> bool:
    """Return whether everybody targeted has exactly one row."""
    with transaction(sessions) as session:
        rows = session.scalars(
            select(func.count()).where(DeliveryLog.notification_id == sent.notification.id)
        ).one()
    return rows == sent.notification.targeted == sum(sent.counts.values())


def is_somebody_waiting(sessions: SessionFactory) -> bool:
    """Return whether a transaction of this test's database waits for another's lock."""
    with transaction(sessions) as session:
        waiting = (
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock')"
        )
        return bool(session.scalar(text(waiting)))
