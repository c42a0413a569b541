"""What a worker process does all day: one thread looks for work and plans it, others run batches, until it stops.

Only the lookout asks the database when there is nothing to do; the runners sleep until it calls them.
"""

import itertools
import threading
import time
from collections.abc import Callable

import structlog
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from app.db.session import PASSING_ERRORS, transaction
from app.delivery import lanes, plan, settle
from app.delivery.bell import Listener
from app.delivery.lease import Lease, lease_next
from app.delivery.run import Pipeline, run_next
from app.notifications import schedule
from app.workers.berths import Berths

# Each runs one batch at a time through the sender they share. Most of them sleep: what runs at once is limited for
# each push service (see berths.py), and these are enough for the others when some hang.
RUNNERS = 32
# Small notifications overtake large ones. One claim of so many is the turn of whoever has waited for longest, or
# those that never end would keep the large ones waiting for good.
LONGEST_DUE_EVERY = 8
# Without a ring the lookout looks for itself: after retries come due, and for what a dead process left. More often
# while something is going on: what another process plans, nobody rings for.
LOOK_EVERY_SECONDS = 1.0
LOOK_AT_MOST_EVERY_SECONDS = 0.05
PAUSE_AFTER_ERROR_SECONDS = 5.0
# Most push services answer within a second; one that hangs may take a sender's whole timeout.
STOP_PATIENCE_SECONDS = 15.0

log = structlog.get_logger(__name__)


class DeliveryLoop:
    """Plans large audiences and runs batches that are due. Any number of processes may have one each."""

    def __init__(self, pipeline: Pipeline, *, runners: int = RUNNERS) -> None:
        self._pipeline = pipeline
        self._stopping = threading.Event()
        self._calls = _Calls()
        self._berths = Berths(runners, has_answered=pipeline.traffic.has_answered)
        self._claims = itertools.count(1)
        self._outage = _Outage()
        self._active_at = time.monotonic()
        self._listener: Listener | None = None
        self._threads = [
            threading.Thread(target=self._run_batches, name=f"runner-{number}", daemon=True)
            for number in range(1, runners + 1)
        ]
        self._threads.append(threading.Thread(target=self._look_out, name="lookout", daemon=True))

    def start(self) -> None:
        self._listener = Listener(self._pipeline.sessions)
        for thread in self._threads:
            thread.start()

    def stop(self, patience_seconds: float = STOP_PATIENCE_SECONDS) -> bool:
        """Begin nothing further, record what is in flight, give the rest back. True when that is done in time."""
        self._stopping.set()
        self._calls.call_all()
        if self._listener is not None:
            self._listener.interrupt()
        give_up_at = time.monotonic() + patience_seconds
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, give_up_at - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def run_once(self) -> bool:
        """Release what is scheduled, plan a page and run a batch, in this thread. False when there was nothing."""
        with transaction(self._pipeline.sessions) as session:
            has_settled = settle.settle_where_lanes_wait(session)
            schedule.release_due(session)
        has_planned = self._plan_a_page()
        return self._run_a_batch() or has_planned or has_settled

    def _look_out(self) -> None:
        assert self._listener is not None
        while not self._stopping.is_set():
            looked_at = time.monotonic()
            if self._guarded(self._look):
                self._active_at = time.monotonic()
            elif self._listener.wait(self._seconds_to_wait()):
                self._active_at = time.monotonic()
                # Rings that come thick and fast are heard as one.
                seconds_left = max(0.0, looked_at + LOOK_AT_MOST_EVERY_SECONDS - self._active_at)
                self._stopping.wait(min(seconds_left, LOOK_AT_MOST_EVERY_SECONDS))  # also after a clock's jump back
        self._listener.close()

    def _look(self) -> bool:
        """Release what is scheduled, plan a page, call a runner. True when there may be more to do at once."""
        with transaction(self._pipeline.sessions) as session:
            has_settled = settle.settle_where_lanes_wait(session)  # it may wait for rows, so it holds nothing else
            has_released = schedule.release_due(session) > 0
            is_one_to_plan = plan.next_to_plan(session) is not None
            open_lanes = self._open_lanes(session)
        self._outage.has_ended()
        if self._berths.have_room_for(open_lanes):
            self._calls.call()
        has_planned = is_one_to_plan and self._plan_a_page()
        if has_planned:
            self._calls.call()
        return has_released or has_planned or has_settled

    def _seconds_to_wait(self) -> float:
        if self._berths.taken:
            return LOOK_EVERY_SECONDS  # whoever ends a batch looks for the next one himself
        quiet_seconds = time.monotonic() - self._active_at
        return min(LOOK_EVERY_SECONDS, max(LOOK_AT_MOST_EVERY_SECONDS, quiet_seconds / 2))

    def _run_batches(self) -> None:
        heard = self._calls.count
        while not self._stopping.is_set():
            self._calls.wait(heard)
            has_run = True
            while has_run and not self._stopping.is_set():
                heard = self._calls.count
                has_run = self._guarded(self._run_a_batch)
                self._active_at = time.monotonic() if has_run else self._active_at

    def _guarded(self, step: Callable[[], bool]) -> bool:
        """Take a step of work, and tell whether there was something to do. An error is said, and never raised."""
        try:
            return step()
        except PASSING_ERRORS as error:
            self._outage.has_begun("worker waits for the database", error=type(error).__name__)
        except ProgrammingError:
            self._outage.has_begun("worker waits for the tables", hint="run alembic upgrade head")
        except Exception:
            log.exception("worker failed")
        self._stopping.wait(PAUSE_AFTER_ERROR_SECONDS)
        return False

    def _plan_a_page(self) -> bool:
        notification_id = None
        try:
            with transaction(self._pipeline.sessions) as session:
                notification_id = plan.next_to_plan(session)
                if notification_id is not None:
                    plan.plan_page(session, notification_id)
        except Exception as error:
            if notification_id is None:
                raise
            say = log.warning if isinstance(error, PASSING_ERRORS) else log.exception
            say("planning put off", notification=str(notification_id), error=type(error).__name__)
            with transaction(self._pipeline.sessions) as session:
                plan.put_off(session, notification_id)
        return notification_id is not None

    def _run_a_batch(self) -> bool:
        berth = None

        def lease_one(session: Session) -> Lease | None:
            nonlocal berth
            open_lanes = self._open_lanes(session)
            longest_due = bool(open_lanes) and next(self._claims) % LONGEST_DUE_EVERY == 0
            while (berth := self._berths.enter(open_lanes, by_turns=longest_due)) is not None:
                lease = lease_next(session, berth.lane, longest_due=longest_due)
                if lease is not None:
                    if self._berths.have_room_for(open_lanes):
                        self._calls.call()
                    return lease
                self._berths.leave(berth)
                open_lanes.remove(berth)  # others have it all
            return None

        try:
            return run_next(self._pipeline, lease_one, stop=self._stopping.is_set)
        finally:
            if berth is not None:
                self._berths.leave(berth)

    def _open_lanes(self, session: Session) -> list[lanes.OpenLane]:
        return lanes.open_lanes(session, is_capped=self._pipeline.max_per_second is not None)


class _Calls:
    """How runners are woken, one by one. Who looked while another was called looks again: see `heard`.

    Whoever fell asleep last is woken first: a few do the work of a quiet service, and the others cost no memory.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asleep: list[threading.Event] = []
        self.count = 0

    @property
    def waiting(self) -> int:
        with self._lock:
            return len(self._asleep)

    def call(self) -> None:
        """Wake one of those who wait."""
        self._wake(1)

    def call_all(self) -> None:
        self._wake(None)

    def wait(self, heard: int) -> None:
        """Return when called, at once if there was a call after the `heard` first ones."""
        awake = threading.Event()
        with self._lock:
            if self.count != heard:
                return
            self._asleep.append(awake)
        awake.wait()

    def _wake(self, most: int | None) -> None:
        with self._lock:
            self.count += 1
            for _ in range(len(self._asleep) if most is None else min(most, len(self._asleep))):
                self._asleep.pop().set()


class _Outage:
    """Says once why the database cannot be used, and once that it can be again, however many threads notice."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event: str | None = None

    def has_begun(self, event: str, **why: str) -> None:
        with self._lock:
            is_news, self._event = self._event != event, event
        if is_news:
            log.warning(event, **why)

    def has_ended(self) -> None:
        with self._lock:
            is_news, self._event = self._event is not None, None
        if is_news:
            log.info("worker goes on: the database is back")
