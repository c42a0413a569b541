"""Running a batch: claim it, post with no database session held, record as the answers come."""

import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from app.db.session import PASSING_ERRORS, SessionFactory, transaction
from app.delivery import claim, record
from app.delivery.bell import Bell
from app.delivery.claim import Recipient, Work
from app.delivery.payload import PublicUrls, payload_of, topic_of
from app.delivery.record import Answered, BatchReport
from app.errors import Unavailable
from app.keyring.service import Keyring
from app.observability import metrics
from app.push.keys import VapidKey
from app.push.message import PushMessage, Urgency
from app.push.outcome import Outcome, Verdict
from app.push.sender import Sender, never

WRITE_EVERY_ROWS = 200
WRITE_EVERY_SECONDS = 1.0
# How long outcomes wait in memory for a database that is away. Past it they are given up: those deliveries are
# still pending in the ledger, and are posted again once the lease has run out.
WRITE_PATIENCE_SECONDS = 45.0
FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 5.0
INLINE_THREADS = 40  # as many as requests are served at once

log = structlog.get_logger(__name__)


def _inline_threads() -> Executor:
    return ThreadPoolExecutor(INLINE_THREADS, thread_name_prefix="inline-send")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What running a batch needs, shared by requests and workers of one process. `inline` is for inline.py."""

    sessions: SessionFactory
    sender: Sender
    keyring: Keyring
    urls: PublicUrls = field(default_factory=PublicUrls)
    inline: Executor = field(default_factory=_inline_threads)

    @property
    def bell(self) -> Bell:
        return Bell(self.sessions)


def run_next(pipeline: Pipeline, *, stop: Callable[[], bool] = never) -> bool:
    """Run a batch that is due, as run_batch does. False when there is none.

    Raises as run_batch does, and when the database cannot be asked.
    """
    return _run(pipeline, claim.next_due, stop=stop) is not None


def run_batch(pipeline: Pipeline, batch_id: UUID, *, stop: Callable[[], bool] = never) -> BatchReport:
    """Send a batch's pending deliveries and record what came of each.

    Once `stop()` is true nothing further is begun; what is in flight is still recorded, the rest given back. An
    empty report means that another worker has the batch, that nobody in it was left to send to, or that it could
    not be run and is put off. Raises only when not even that could be written: then its lease has to run out.
    """
    return _run(pipeline, lambda _session: batch_id, stop=stop) or BatchReport()


def _run(
    pipeline: Pipeline, choose: Callable[[Session], UUID | None], *, stop: Callable[[], bool]
) -> BatchReport | None:
    """Run the batch that `choose` names, or return None when it names none."""
    batch_id = work = None
    claimed_at = time.monotonic()
    try:
        with transaction(pipeline.sessions) as session:
            batch_id = choose(session)
            if batch_id is None:
                return None
            claimed = claim.take(session, batch_id)
            key_pairs = _key_pairs(session, pipeline.keyring, claimed)
        work = claimed
        return BatchReport() if work is None else _deliver(pipeline, work, key_pairs, claimed_at, stop=stop)
    except Exception as error:
        if batch_id is None:
            raise
        say = log.warning if isinstance(error, (*PASSING_ERRORS, Unavailable)) else log.exception
        say("batch put off", batch=str(batch_id), error=type(error).__name__)
        with transaction(pipeline.sessions) as session:
            claim.put_off(session, batch_id, lease_token=work.lease_token if work else None)
        return BatchReport()


def _key_pairs(session: Session, keyring: Keyring, work: Work | None) -> dict[str, VapidKey]:
    """Return the VAPID keys of a claimed batch by their id as text. Raises CannotUnseal."""
    key_ids = {recipient.vapid_key_id for recipient in work.recipients} if work else ()
    found = keyring.key_pairs(session, {UUID(key_id) for key_id in key_ids})
    return {str(key_id): key_pair for key_id, key_pair in found.items()}


def _deliver(
    pipeline: Pipeline,
    work: Work,
    key_pairs: Mapping[str, VapidKey],
    claimed_at: float,
    *,
    stop: Callable[[], bool],
) -> BatchReport:
    messages = _messages(work, pipeline, key_pairs, claimed_at=claimed_at)
    writer = _Writer(pipeline.sessions, work)
    try:
        for answers in pipeline.sender.send(messages, stop=lambda: stop() or writer.must_stop):
            writer.add(answers)
    finally:
        writer.close()
    return writer.report


class _Writer:
    """Collects outcomes and writes them every second or every 200, renewing the lease each time.

    The last 200 are written with the end of the batch.
    """

    def __init__(self, sessions: SessionFactory, work: Work) -> None:
        self.must_stop = False
        self.report = BatchReport()
        self._sessions = sessions
        self._work = work
        self._unanswered: dict[Hashable, Recipient] = {
            recipient.subscription_id: recipient for recipient in work.recipients
        }
        self._answered: list[Answered] = []
        self._has_given_up = False
        self._service = metrics.service_label(work.endpoint_host)
        self._in_flight = metrics.deliveries_in_flight.labels(service=self._service)
        self._in_flight.inc(len(work.recipients))
        self._written_at = time.monotonic()

    def add(self, answers: list[tuple[PushMessage, Outcome]]) -> None:
        for message, outcome in answers:
            self._answered.append((self._unanswered.pop(message.ref), outcome))
        is_due = time.monotonic() - self._written_at >= WRITE_EVERY_SECONDS
        # The last ones are written with the end of the batch, or when they take their time.
        are_enough = min(len(self._answered), len(self._unanswered)) >= WRITE_EVERY_ROWS
        if is_due or are_enough:
            self._patiently(self._write_and_renew)

    def close(self) -> None:
        try:
            if not self._has_given_up:
                self._patiently(self._write_and_close)
        finally:
            self._in_flight.dec(len(self._unanswered) + len(self._answered))

    def _write_and_renew(self, session: Session) -> BatchReport:
        report = record.write(session, self._work, self._answered)
        if not claim.renew(session, self._work):
            self.must_stop = True
        return report

    def _write_and_close(self, session: Session) -> BatchReport:
        report = record.write(session, self._work, self._answered)
        claim.close(session, self._work, give_back=bool(self._unanswered))
        return report

    def _patiently(self, write: Callable[[Session], BatchReport]) -> None:
        """Write in one transaction, again and again while the database is away; nothing new is posted meanwhile."""
        give_up_at = time.monotonic() + WRITE_PATIENCE_SECONDS
        wait_seconds = FIRST_WAIT_SECONDS
        while True:
            try:
                with transaction(self._sessions) as session:
                    report = write(session)
                break
            except PASSING_ERRORS as error:
                self.must_stop = True
                if time.monotonic() + wait_seconds > give_up_at:
                    self._has_given_up = True
                    raise
                log.warning(
                    "outcomes wait for the database", waiting=len(self._answered), error=type(error).__name__
                )
                time.sleep(wait_seconds)
                wait_seconds = min(wait_seconds * 2, LONGEST_WAIT_SECONDS)
        self.report.add(report)
        _measure(self._service, [outcome for _, outcome in self._answered])
        self._in_flight.dec(len(self._answered))
        self._answered = []
        self._written_at = time.monotonic()


def _measure(service: str, outcomes: list[Outcome]) -> None:
    counts: Counter[Verdict] = Counter(
        outcome.verdict for outcome in outcomes if outcome.verdict is not Verdict.ACCEPTED
    )
    counts[Verdict.ACCEPTED] = len(outcomes) - counts.total()
    for verdict, count in counts.items():
        metrics.deliveries.labels(service=service, verdict=verdict.value).inc(count)
    durations = [outcome.seconds for outcome in outcomes if outcome.seconds is not None]
    metrics.observe_all(metrics.push_request_duration.labels(service=service), durations)


def _messages(
    work: Work, pipeline: Pipeline, key_pairs: Mapping[str, VapidKey], *, claimed_at: float
) -> list[PushMessage]:
    """Return what is to be posted. `claimed_at` is when this process began to claim, on its monotonic clock."""
    notification = work.notification
    payload = payload_of(notification, pipeline.urls)
    urgency, topic, ttl_seconds = Urgency(notification.urgency), topic_of(notification), notification.ttl_seconds
    return [
        PushMessage(
            endpoint=endpoint,
            p256dh=p256dh,
            auth=auth,
            payload=payload,
            vapid_key=key_pairs[vapid_key_id],
            ttl_seconds=ttl_seconds,
            urgency=urgency,
            topic=topic,
            expires_at=claimed_at + seconds_left,
            ref=subscription_id,
        )
        for subscription_id, endpoint, p256dh, auth, vapid_key_id, seconds_left in work.recipients
    ]
