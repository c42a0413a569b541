"""Lets the guard against mass losses look again and again: one process of the service does, for all."""

import time

from app.db.session import SessionFactory
from app.delivery import guard
from app.workers.database_gauges import COUNTING_SHARE
from app.workers.leader import Leader

INTERVAL_SECONDS = 10
LOCK_KEY = 0x70757368_67756172  # "pushguar"


class MassLossGuard:
    """The job for Periodic. Every process runs it; the leader looks, the others stand by to take over.

    To find out how many were tried may take reading the whole audience: that is done for a share of the time, no
    more. Who is to be held is held at once.
    """

    def __init__(self) -> None:
        self._leader = Leader(LOCK_KEY)
        self._look_again_at = 0.0

    def __call__(self, sessions: SessionFactory) -> None:
        if not self._leader.leads(sessions) or time.monotonic() < self._look_again_at:
            return
        started = time.monotonic()
        try:
            not_believed = guard.losses_not_believed(sessions)
        finally:
            finished = time.monotonic()
            self._look_again_at = finished + (finished - started) / COUNTING_SHARE
        guard.hold(sessions, not_believed)

    def close(self) -> None:
        self._leader.resign()
