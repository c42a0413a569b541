"""Refreshes the gauges about the database: one process of the service does it, and none while being scraped."""

import time
from collections import Counter
from datetime import timedelta
from itertools import product

from sqlalchemy import func, or_, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.db.session import SessionFactory, transaction
from app.delivery import drain, quarantine
from app.delivery.pace import PauseReason
from app.keyring.dependents import KeyState, active_subscriptions_by_key
from app.keyring.service import SHORT_CHARACTERS
from app.models import BatchState, DeliveryBatch, Notification, NotificationState, ServiceState, Subscription
from app.models.subscription import IS_ACTIVE
from app.observability import metrics
from app.push.endpoint import PushServiceKind
from app.workers.leader import Leader

INTERVAL_SECONDS = 15
LOCK_KEY = 0x70757368_67617567  # "pushgaug"

STATEMENT_TIMEOUT = "10s"
# Counting subscriptions reads an index as large as the audience. It may take this share of the time, no more.
COUNTING_SHARE = 0.02

_UNFINISHED = (NotificationState.SCHEDULED, NotificationState.PLANNING, NotificationState.SENDING)

# Served by ix_push_subscriptions_active, mostly without looking at the table.
ACTIVE_SUBSCRIPTIONS = select(func.count()).select_from(Subscription).where(IS_ACTIVE)

# The sizes of the open batches are summed: a few rows of ix_push_delivery_batches_due for each thousand deliveries,
# where counting the ledger would read every partition. The price: what a leased batch has recorded already counts
# until the batch closes, so the sum is high by at most 500 for each worker.
PENDING_DELIVERIES = select(
    func.coalesce(func.sum(DeliveryBatch.size), 0),
    func.greatest(func.now() - func.min(DeliveryBatch.not_before), timedelta(0)),
).where(DeliveryBatch.state.in_((BatchState.READY, BatchState.LEASED)))


class DatabaseGauges:
    """The job for Periodic. Every process runs it; the leader counts, the others stand by to take over."""

    def __init__(self) -> None:
        self._leader = Leader(LOCK_KEY)
        self._count_again_at = 0.0

    def __call__(self, sessions: SessionFactory) -> None:
        try:
            leads = self._leader.leads(sessions)
        except SQLAlchemyError:
            metrics.database_up.set(0)
            raise
        metrics.database_up.set(1)
        if leads:
            self.refresh(sessions)

    def close(self) -> None:
        self._leader.resign()

    def refresh(self, sessions: SessionFactory) -> None:
        """Count now, leading or not."""
        with transaction(sessions) as session:
            session.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"))
            _measure_queue(session)
            _count_notifications(session)
            _count_pauses(session)
            _count_quarantines(session)
            metrics.draining.set(drain.find(session) is not None)
        if time.monotonic() >= self._count_again_at:
            self._count_subscriptions(sessions)
        metrics.database_gauges_refreshed.set_to_current_time()

    def _count_subscriptions(self, sessions: SessionFactory) -> None:
        started = time.monotonic()
        try:
            with transaction(sessions) as session:
                session.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"))
                total = count_active_subscriptions(session)
                metrics.active_subscriptions.set(total)
                _count_by_key(session, total)
                _count_quarantined(session)
        finally:
            finished = time.monotonic()
            self._count_again_at = finished + (finished - started) / COUNTING_SHARE


def count_active_subscriptions(session: Session) -> int:
    """Return how many there are, all tenants together."""
    return session.scalars(ACTIVE_SUBSCRIPTIONS).one()


def _count_by_key(session: Session, total: int) -> None:
    """Show each key in the state it is in, and not in those it was in; a retired one only while somebody has it."""
    shown: Counter[tuple[str, KeyState]] = Counter()
    keys = set()
    for public_key, state, count in active_subscriptions_by_key(session, of_all=total):
        key = public_key[:SHORT_CHARACTERS]
        keys.add(key)
        if count or state is not KeyState.RETIRED:
            shown[key, state] += count
    for key, state in product(keys, KeyState):
        value = shown.get((key, state), metrics.NOT_SHOWN)
        metrics.vapid_key_subscriptions.labels(key=key, state=state.value).set(value)


def pending_deliveries(session: Session) -> tuple[int, timedelta]:
    """Return how many deliveries are pending, and how long the first of them has been due."""
    total, waited = session.execute(PENDING_DELIVERIES).one()
    return int(total), waited


def _measure_queue(session: Session) -> None:
    total, waited = pending_deliveries(session)
    metrics.pending_deliveries.set(total)
    metrics.oldest_pending_age.set(waited.total_seconds())


def _count_notifications(session: Session) -> None:
    """Served by ix_push_notifications_unfinished."""
    found = session.execute(
        select(Notification.state, func.count())
        .where(Notification.state.in_(_UNFINISHED))
        .group_by(Notification.state)
    )
    counts = {row.state: row[1] for row in found}
    for state in _UNFINISHED:
        metrics.unfinished_notifications.labels(state=state.value).set(counts.get(state, 0))


def _count_pauses(session: Session) -> None:
    """There is a row for each lane that ever had to wait: few, so they are simply read.

    One that refuses our credentials waits until it accepts something, also while it is asked.
    """
    found = session.execute(
        select(ServiceState.endpoint_host, ServiceState.reason).where(
            or_(ServiceState.paused_until > func.now(), ServiceState.reason == PauseReason.REFUSED)
        )
    )
    paused = Counter((metrics.service_label(host), reason) for host, reason in found)
    for service, reason in product(PushServiceKind, PauseReason):
        metrics.services_paused.labels(service=service.value, reason=reason.value).set(paused[service, reason])


def _count_quarantines(session: Session) -> None:
    opened = Counter(metrics.service_label(host) for host in quarantine.open_hosts(session))
    for service in PushServiceKind:
        metrics.open_quarantines.labels(service=service.value).set(opened[service])


def _count_quarantined(session: Session) -> None:
    held: Counter[str] = Counter()
    for host, members in quarantine.members_by_host(session):
        held[metrics.service_label(host)] += members
    for service in PushServiceKind:
        metrics.quarantined_subscriptions.labels(service=service.value).set(held[service])
