"""Retention once an hour: one process of the service does it, and what is done, delivery/retention.py says."""

from dataclasses import asdict

import structlog

from app.db.session import SessionFactory
from app.delivery.retention import Removed, clean_up
from app.workers.leader import Leader

INTERVAL_SECONDS = 3600.0
# Nothing that a process has to begin with: deployments start many, one after the other.
FIRST_AFTER_SECONDS = 300.0
LOCK_KEY = 0x70757368_6B656570  # "pushkeep"

log = structlog.stdlib.get_logger(__name__)


class Retention:
    """The job for Periodic. Every process runs it; only the leader's removes anything."""

    def __init__(self, kept_days: int) -> None:
        self._kept_days = kept_days
        self._leader = Leader(LOCK_KEY)

    def __call__(self, sessions: SessionFactory) -> None:
        if not self._leader.leads(sessions):
            return
        removed = clean_up(sessions, kept_days=self._kept_days)
        if removed != Removed():
            log.info("retention has removed what is too old", **asdict(removed))

    def close(self) -> None:
        self._leader.resign()
