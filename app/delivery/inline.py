"""Sending within a request: a small audience is planned and run at once, for as long as the request has time."""

import time
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog

from app.db.session import PASSING_ERRORS, transaction
from app.delivery import claim, plan
from app.delivery.finish import is_everybody_tried
from app.delivery.lanes import is_draining
from app.delivery.run import Pipeline, run_batch

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class InlineLimits:
    """How much a request does itself before it leaves the rest to the workers."""

    max_recipients: int
    timeout_seconds: float

    @property
    def hold_back(self) -> timedelta:
        # Twice the time that the request gives itself: workers come earlier only when it has died.
        return timedelta(seconds=2 * self.timeout_seconds)


def run_inline(pipeline: Pipeline, notification_id: UUID, limits: InlineLimits) -> bool:
    """Plan and run a notification. True when every recipient was tried, or settled otherwise, in time.

    Returns when the time is up, whatever a push service or the database is doing. The work has a thread of its
    own: past that time it begins nothing further, records what is in flight, and leaves the rest to the workers.
    Raises nothing, for the notification is accepted: told of an error, a client would send it again.
    """
    give_up_at = time.monotonic() + limits.timeout_seconds
    work = pipeline.inline.submit(
        copy_context().run, _run, pipeline, notification_id, limits, lambda: time.monotonic() >= give_up_at
    )
    try:
        return work.result(limits.timeout_seconds)
    except TimeoutError:
        work.cancel()
        return False


def _run(
    pipeline: Pipeline, notification_id: UUID, limits: InlineLimits, is_out_of_time: Callable[[], bool]
) -> bool:
    try:
        batch_ids = _plan(pipeline, notification_id, limits, is_out_of_time)
        while batch_ids and not is_out_of_time():
            run_batch(pipeline, batch_ids.popleft(), stop=is_out_of_time)
        with transaction(pipeline.sessions) as session:
            claim.release(session, batch_ids)
            return is_everybody_tried(session, notification_id)
    except Exception as error:
        say = log.warning if isinstance(error, PASSING_ERRORS) else log.exception
        say("inline send left to workers", notification=str(notification_id), error=type(error).__name__)
        return False


def _plan(
    pipeline: Pipeline, notification_id: UUID, limits: InlineLimits, is_out_of_time: Callable[[], bool]
) -> deque[UUID]:
    batch_ids: deque[UUID] = deque()
    is_planned = False
    while not is_planned and not is_out_of_time():
        with transaction(pipeline.sessions) as session:
            if is_draining(session):
                break
            page = plan.plan_page(session, notification_id, hold_back=limits.hold_back)
        batch_ids += page.batch_ids
        is_planned = page.is_last
    return batch_ids
