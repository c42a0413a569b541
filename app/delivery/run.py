"""Running a batch: claim it, post with no database session held, record as the answers come."""

import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from app.db.session import PASSING_ERRORS, SessionFactory, transaction
from app.delivery import claim, record, refusals, service_states
from app.delivery.bell import Bell
from app.delivery.claim import Work
from app.delivery.forms import Payloads
from app.delivery.lease import Lease, lease_batch
from app.delivery.messages import key_pairs_of, messages_of
from app.delivery.pace import REFUSED_PAUSE_SECONDS
from app.delivery.recipients import Answered, Recipient
from app.delivery.record import BatchReport
from app.delivery.token import ReceiptTokens
from app.delivery.traffic import Traffic
from app.delivery.watch import LaneWatch
from app.errors import Unavailable
from app.keyring.service import Keyring
from app.observability import metrics
from app.push.keys import VapidKey
from app.push.message import PushMessage
from app.push.outcome import Outcome, Verdict
from app.push.sender import Sender, never

WRITE_EVERY_ROWS = 200
WRITE_EVERY_SECONDS = 1.0
# So many that are to be tried again say something about the push service, and so many refusals something about us:
# it is to be heard before more are posted.
WRITE_EVERY_RETRIES = 50
# How long outcomes wait in memory for a database that is away. Past it they are given up: those deliveries are
# still pending in the ledger, and are posted again once the lease has run out.
WRITE_PATIENCE_SECONDS = 45.0
FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 5.0
LOOK_EVERY_SECONDS = 0.05
INLINE_THREADS = 40  # as many as requests are served at once

_ACCEPTED = Verdict.ACCEPTED  # looked up for every delivery, a member of an enumeration costs ten times as much

log = structlog.get_logger(__name__)


def _inline_threads() -> Executor:
    return ThreadPoolExecutor(INLINE_THREADS, thread_name_prefix="inline-send")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What running a batch needs, shared by requests and workers of one process. `inline` is for inline.py.

    `max_per_second` is how many messages a push service gets, from all processes together; None: as many as go.
    """

    sessions: SessionFactory
    sender: Sender
    keyring: Keyring
    payloads: Payloads = field(default_factory=Payloads)
    inline: Executor = field(default_factory=_inline_threads)
    max_per_second: float | None = None
    traffic: Traffic = field(default_factory=Traffic)

    @property
    def bell(self) -> Bell:
        return Bell(self.sessions)

    @property
    def receipt_tokens(self) -> ReceiptTokens:
        return ReceiptTokens(self.keyring.receipt_key)


def run_next(
    pipeline: Pipeline, lease_one: Callable[[Session], Lease | None], *, stop: Callable[[], bool] = never
) -> bool:
    """Run the batch that `lease_one` claims, as run_batch does. False when there is none.

    Raises as run_batch does, and when the database cannot be asked.
    """
    try:
        return _run(pipeline, lease_one, stop=stop) is not None
    except claim.NotNow:
        return True  # another process was faster; there may be something else


def run_batch(pipeline: Pipeline, batch_id: UUID, *, stop: Callable[[], bool] = never) -> BatchReport:
    """Send a batch's pending deliveries and record what came of each.

    Once `stop()` is true nothing further is begun; what is in flight is still recorded, the rest given back. An
    empty report means that another worker has the batch, that nobody in it was left to send to, or that it could
    not be run and is put off; or that its lane has to wait, and workers will see to it. Raises only when not even
    that could be written: then its lease has to run out.
    """
    with suppress(claim.NotNow):
        report = _run(pipeline, lambda session: lease_batch(session, batch_id), stop=stop)
        if report is not None:
            return report
    with transaction(pipeline.sessions) as session:
        claim.release(session, [batch_id])
    return BatchReport()


def _run(
    pipeline: Pipeline, lease_one: Callable[[Session], Lease | None], *, stop: Callable[[], bool]
) -> BatchReport | None:
    """Run the batch that `lease_one` claims, or return None when it claims none. Raises NotNow."""
    lease = work = None
    claimed_at = time.monotonic()
    try:
        with transaction(pipeline.sessions) as session:
            lease = lease_one(session)
            if lease is None:
                return None
            claimed = claim.begin(session, lease, max_per_second=pipeline.max_per_second)
            key_pairs = key_pairs_of(session, pipeline.keyring, claimed)
        work = claimed
        return BatchReport() if work is None else _deliver(pipeline, work, key_pairs, claimed_at, stop=stop)
    except claim.NotNow:
        raise
    except Exception as error:
        if lease is None:
            raise
        say = log.warning if isinstance(error, (*PASSING_ERRORS, Unavailable)) else log.exception
        say("batch put off", batch=str(lease.batch_id), error=type(error).__name__)
        with transaction(pipeline.sessions) as session:
            claim.put_off(session, lease.batch_id, lease_token=work.lease_token if work else None)
        return BatchReport()


def _deliver(
    pipeline: Pipeline,
    work: Work,
    key_pairs: Mapping[str, VapidKey],
    claimed_at: float,
    *,
    stop: Callable[[], bool],
) -> BatchReport:
    messages = messages_of(
        *(work, pipeline.payloads),
        receipt_tokens=pipeline.receipt_tokens,
        key_pairs=key_pairs,
        claimed_at=claimed_at,
    )
    writer = _Writer(pipeline.sessions, work, LaneWatch(work, pipeline.traffic))

    def must_stop() -> bool:
        return writer.must_stop or stop()

    with pipeline.traffic.under_way(work.lane, writer.stop):
        try:
            if work.slot is not None:
                _wait(work.slot.begins_in_seconds, must_stop)
            rate = work.turn.rate_per_second
            for answers in pipeline.sender.send(messages, stop=must_stop, rate_per_second=rate):
                writer.add(answers)
        finally:
            writer.close()
    return writer.report


def _wait(seconds: float, must_stop: Callable[[], bool]) -> None:
    # Step by step, and not until a moment: a clock that jumps back would make that an hour.
    while seconds > 0 and not must_stop():
        time.sleep(min(seconds, LOOK_EVERY_SECONDS))
        seconds -= LOOK_EVERY_SECONDS


class _Writer:
    """Collects outcomes and writes them every second or every 200, or 50 bad ones, renewing the lease each time.

    The last 200 are written with the end of the batch.
    """

    def __init__(self, sessions: SessionFactory, work: Work, watch: LaneWatch) -> None:
        self.must_stop = False
        self.report = BatchReport()
        self._sessions = sessions
        self._work = work
        self._watch = watch
        self._unused = work.turn.messages
        self._unanswered: dict[Hashable, Recipient] = {
            recipient.subscription_id: recipient for recipient in work.recipients
        }
        self._answered: list[Answered] = []
        self._refused: list[Recipient] = []
        self._heard_early = 0
        self._has_given_up = False
        service = metrics.service_label(work.lane.endpoint_host)
        self._in_flight = metrics.deliveries_in_flight.labels(service=service)
        self._in_flight.inc(work.turn.messages)
        self._written_at = time.monotonic()

    def stop(self) -> None:
        """Begin nothing further. For other threads."""
        self.must_stop = True

    def add(self, answers: list[tuple[PushMessage, Outcome]]) -> None:
        self._unused -= len(answers)
        for message, outcome in answers:
            recipient = self._unanswered.pop(message.ref)
            self._answered.append((recipient, outcome))
            if outcome.verdict is not _ACCEPTED:
                self._note(recipient, outcome)
        is_due = time.monotonic() - self._written_at >= WRITE_EVERY_SECONDS
        # The last ones are written with the end of the batch, or when they take their time.
        are_enough = min(len(self._answered), len(self._unanswered)) >= WRITE_EVERY_ROWS
        if is_due or are_enough or self._heard_early >= WRITE_EVERY_RETRIES:
            self._patiently(self._write_and_renew)

    def close(self) -> None:
        try:
            if not self._has_given_up:
                self._patiently(self._write_and_close)
        finally:
            self._in_flight.dec(self._unused + len(self._answered))

    def _note(self, recipient: Recipient, outcome: Outcome) -> None:
        is_refusal = refusals.is_refusal(self._work.lane, recipient, outcome)
        if is_refusal:
            self._refused.append(recipient)
        self._heard_early += is_refusal or outcome.verdict is Verdict.RETRY

    def _write_and_renew(self, session: Session) -> BatchReport:
        put_off = self._watch.judge(session, self._answered, self._refused)
        report = record.write(session, self._work, self._answered, put_off=put_off)
        if not claim.renew(session, self._work):
            self.must_stop = True
        self._watch.write(session, self._answered)
        return report

    def _write_and_close(self, session: Session) -> BatchReport:
        work = self._work
        put_off = self._watch.judge(session, self._answered, self._refused)
        report = record.write(session, work, self._answered, put_off=put_off)
        # The others of a lane that still refuses us are not asked one by one, in case that is about them alone.
        wait_seconds = REFUSED_PAUSE_SECONDS if self._watch.is_refused else 0.0
        claim.close(session, work, give_back=bool(self._unanswered), wait_seconds=wait_seconds)
        if work.slot is not None and self._unused:
            service_states.give_back(session, work.lane, work.turn, work.slot, unused=self._unused)
        self._watch.write(session, self._answered)
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
        self._watch.committed()
        self._in_flight.dec(len(self._answered))
        self._answered = []
        self._refused = []
        self._heard_early = 0
        self._written_at = time.monotonic()
