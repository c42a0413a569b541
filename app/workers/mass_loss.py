"""Lets the guard against mass losses look again and again, and shows what it holds: one process does, for all."""

import time
from collections import Counter

from sqlalchemy.orm import Session

from app.db.session import SessionFactory, transaction
from app.delivery import guard, quarantine
from app.observability import metrics
from app.push.endpoint import PushServiceKind
from app.workers.database_gauges import COUNTING_SHARE
from app.workers.leader import Leader

INTERVAL_SECONDS = 10
LOCK_KEY = 0x70757368_67756172  # "pushguar"


class MassLossGuard:
    """The job for Periodic. Every process runs it; the leader looks, the others stand by to take over.

    To find out how many were tried may take reading the whole audience, and to count who is held, all of those. It
    may take a share of the time, no more.
    """

    def __init__(self) -> None:
        self._leader = Leader(LOCK_KEY)
        self._look_again_at = 0.0

    def __call__(self, sessions: SessionFactory) -> None:
        if not self._leader.leads(sessions):
            return
        if time.monotonic() >= self._look_again_at:
            self._look(sessions)
        with transaction(sessions) as session:
            _count_quarantines(session)

    def close(self) -> None:
        self._leader.resign()

    def _look(self, sessions: SessionFactory) -> None:
        started = time.monotonic()
        try:
            guard.look(sessions)
            with transaction(sessions) as session:
                _count_subscriptions(session)
        finally:
            finished = time.monotonic()
            self._look_again_at = finished + (finished - started) / COUNTING_SHARE


def _count_quarantines(session: Session) -> None:
    opened = Counter(metrics.service_label(host) for host in quarantine.open_hosts(session))
    for service in PushServiceKind:
        metrics.open_quarantines.labels(service=service.value).set(opened[service])


def _count_subscriptions(session: Session) -> None:
    held: Counter[str] = Counter()
    for host, members in quarantine.members_by_host(session):
        held[metrics.service_label(host)] += members
    for service in PushServiceKind:
        metrics.quarantined_subscriptions.labels(service=service.value).set(held[service])
