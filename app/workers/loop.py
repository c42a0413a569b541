"""The embedded worker: a thread that plans large audiences and runs batches that are due, until it is stopped."""

import threading

import structlog
from sqlalchemy.exc import ProgrammingError

from app.db.session import PASSING_ERRORS, transaction
from app.delivery import claim, plan
from app.delivery.run import Pipeline, run_batch

# Without a ring it looks for itself: after retries come due, and for what a dead process left.
LOOK_EVERY_SECONDS = 1.0
PAUSE_AFTER_ERROR_SECONDS = 5.0
SHUTDOWN_PATIENCE_SECONDS = 20.0

log = structlog.get_logger(__name__)


class DeliveryLoop:
    """Runs what is due, one page or batch after the other. Any number of processes may run one each."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="delivery-loop", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing further, wait for what is in flight to be recorded, give the rest back."""
        self._stopping.set()
        self._pipeline.bell.ring()
        self._thread.join(SHUTDOWN_PATIENCE_SECONDS)

    def run_once(self) -> bool:
        """Plan one page and run one batch. False when there was nothing to do."""
        has_planned = self._plan_a_page()
        return self._run_a_batch() or has_planned

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if not self.run_once():
                    self._pipeline.bell.wait(LOOK_EVERY_SECONDS)
            except PASSING_ERRORS as error:
                log.warning("worker waits for the database", error=type(error).__name__)
                self._stopping.wait(PAUSE_AFTER_ERROR_SECONDS)
            except ProgrammingError:
                log.warning("worker waits for the database", hint="is it migrated? Run alembic upgrade head")
                self._stopping.wait(PAUSE_AFTER_ERROR_SECONDS)
            except Exception:
                log.exception("worker failed")
                self._stopping.wait(PAUSE_AFTER_ERROR_SECONDS)

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
        with transaction(self._pipeline.sessions) as session:
            batch_id = claim.next_due(session)
        if batch_id is None:
            return False
        run_batch(self._pipeline, batch_id, stop=self._stopping.is_set)
        return True
