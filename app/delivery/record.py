"""Recording: what the push services answered, written to the ledger and to the subscriptions."""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from sqlalchemy import and_, case, func, text, update
from sqlalchemy.orm import Session

from app.db.arrays import plain_array
from app.db.session import database_now
from app.delivery import ledger, other_key
from app.delivery.claim import Work
from app.delivery.later import later_batch
from app.delivery.other_key import OtherKeys
from app.delivery.recipients import Answered, Recipient
from app.delivery.retry import delay_before_retry
from app.models import DeliveryStatus, Subscription
from app.push.outcome import Outcome, Reason, Verdict

STATUS_OF_VERDICT = {
    Verdict.ACCEPTED: DeliveryStatus.SENT,
    Verdict.GONE: DeliveryStatus.EXPIRED,
    Verdict.KEY_MISMATCH: DeliveryStatus.FAILED,
    Verdict.REJECTED: DeliveryStatus.FAILED,
    Verdict.TOO_LARGE: DeliveryStatus.FAILED,
    Verdict.RETRY: DeliveryStatus.PENDING,
    Verdict.EXPIRED: DeliveryStatus.EXPIRED,
}

CLOCK_TOLERANCE_SECONDS = 5.0

# Looked up for every delivery, a member of an enumeration costs ten times as much.
_SENT, _ACCEPTED = DeliveryStatus.SENT, Verdict.ACCEPTED
_NOT_TOO_LATE = Outcome(
    Verdict.RETRY, Reason.DEADLINE, detail="the sending process's clock has jumped", retry_after_seconds=0
)
_IS_ONE_OF = text("push_subscriptions.id = ANY(CAST(:ids AS uuid[]))")
_DROP_EMPTY = text(
    """
    DELETE FROM push_delivery_batches AS batch
    WHERE id = ANY(CAST(:batch_ids AS uuid[]))
      AND NOT EXISTS (SELECT FROM push_delivery_logs AS log WHERE log.batch_id = batch.id)
    """
)
_LOCK_IN_KEY_ORDER = text(
    "SELECT FROM push_subscriptions WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE"
)
# What was replaced since it was claimed has another endpoint, and what was moved another key (other_key.py): nobody
# has accepted that yet. Who was moved between planning and claiming is established by the next notification.
_MARK_ACCEPTED = text(
    """
    UPDATE push_subscriptions
    SET last_used = now(),
        first_accepted_at = coalesce(
            first_accepted_at,
            CASE WHEN updated_at <= :claimed_at AND vapid_key_id = :vapid_key_id THEN now() END
        ),
        failure_count = 0,
        key_mismatch_at = NULL
    WHERE id = ANY(CAST(:ids AS uuid[]))
    """
)
_MARKS: dict[Verdict, dict[str, Any]] = {
    Verdict.GONE: {"gone_at": func.now(), "enabled": False},
    # Who was never accepted keeps a mark that stands: see other_key.py.
    Verdict.KEY_MISMATCH: {
        "key_mismatch_at": case(
            (
                and_(
                    Subscription.first_accepted_at.is_(None),
                    Subscription.key_mismatch_at > func.now() - other_key.MARK_STANDS,
                ),
                Subscription.key_mismatch_at,
            ),
            else_=func.now(),
        )
    },
}


@dataclass(slots=True)
class BatchReport:
    """How many deliveries ended each way; `pending` will be tried again."""

    counts: Counter[DeliveryStatus] = field(default_factory=Counter)

    def add(self, other: "BatchReport") -> None:
        self.counts.update(other.counts)


def write(
    session: Session, work: Work, answered: Sequence[Answered], *, put_off: Collection[str] = ()
) -> BatchReport:
    """Record outcomes over rows still pending, mark the subscriptions, and move retries to a later batch.

    `put_off` are subscriptions refused through our fault: they are marked, and tried again.
    """
    if not answered:
        return BatchReport()
    accepted = [pair for pair in answered if pair[1].verdict is _ACCEPTED]
    others = [pair for pair in answered if pair[1].verdict is not _ACCEPTED]
    entries = [
        ledger.Entry(recipient.subscription_id, _SENT, None, outcome.status_code, None, outcome.message_id, None, 1)
        for recipient, outcome in accepted
    ]
    judged = _by_the_databases_clock(session, work, others)
    if put_off:
        judged = [
            (
                recipient,
                replace(outcome, verdict=Verdict.RETRY) if recipient.subscription_id in put_off else outcome,
            )
            for recipient, outcome in judged
        ]
    other_keys = other_key.find(session, work, judged)
    if other_keys.tried:
        judged = [pair for pair in judged if pair[0].subscription_id not in other_keys.tried]
        others = [pair for pair in others if pair[0].subscription_id not in other_keys.tried]
    entries += other_key.plan(session, work, other_keys)
    entries += [_final_entry(recipient, outcome) for recipient, outcome in judged if not _is_retry(outcome)]
    entries += _retry_entries(session, work, [pair for pair in judged if _is_retry(pair[1])])
    counts = ledger.write(
        session, work.notification.id, entries, planned_at=work.planned_at, batch_id=work.batch_id
    )
    if counts.total() < len(entries):
        # The lease was lost meanwhile, and others have settled some of these: perhaps nobody is left to try again.
        later = {str(entry.batch_id) for entry in entries if entry.batch_id is not None}
        session.execute(_DROP_EMPTY, {"batch_ids": plain_array(later)})
    _mark_subscriptions(session, work, [who.subscription_id for who, _ in accepted], others, other_keys)
    return BatchReport(counts)


def _by_the_databases_clock(session: Session, work: Work, answered: Sequence[Answered]) -> Sequence[Answered]:
    """Return the outcomes, but for those whom only this process's clock, which has jumped then, calls too late.

    They were not posted, and are to be tried again at once.
    """
    if not any(outcome.verdict is Verdict.EXPIRED for _, outcome in answered):
        return answered
    seconds_gone = (database_now(session) - work.claimed_at).total_seconds()
    return [
        (recipient, _NOT_TOO_LATE)
        if outcome.verdict is Verdict.EXPIRED and recipient.seconds_left - seconds_gone > CLOCK_TOLERANCE_SECONDS
        else (recipient, outcome)
        for recipient, outcome in answered
    ]


def _is_retry(outcome: Outcome) -> bool:
    return outcome.verdict is Verdict.RETRY


def _final_entry(recipient: Recipient, outcome: Outcome) -> ledger.Entry:
    return ledger.Entry(
        recipient.subscription_id,
        STATUS_OF_VERDICT[outcome.verdict],
        outcome.reason.value,
        outcome.status_code,
        outcome.detail or outcome.reason.value,
        tries=0 if outcome.verdict is Verdict.EXPIRED else 1,
    )


def _retry_entries(session: Session, work: Work, answered: Sequence[Answered]) -> list[ledger.Entry]:
    """Plan the next try of each; a next try that would come past the deadline ends the delivery instead."""
    if not answered:
        return []
    by_wait: dict[int | None, list[Answered]] = defaultdict(list)
    for recipient, outcome in answered:
        by_wait[outcome.retry_after_seconds].append((recipient, outcome))
    now = database_now(session)
    entries = []
    for wait, members in by_wait.items():
        not_before = now + delay_before_retry(work.attempt, wait)
        seconds_until = (not_before - work.claimed_at).total_seconds()
        in_time = sum(seconds_until < recipient.seconds_left for recipient, _ in members)
        batch_id = later_batch(session, work, in_time, not_before) if in_time else None
        for recipient, outcome in members:
            is_in_time = seconds_until < recipient.seconds_left
            entries.append(
                ledger.Entry(
                    recipient.subscription_id,
                    DeliveryStatus.PENDING if is_in_time else DeliveryStatus.EXPIRED,
                    reason=outcome.reason.value if is_in_time else "deadline",
                    response_code=outcome.status_code,
                    error_message=outcome.detail or outcome.reason.value,
                    batch_id=batch_id if is_in_time else None,
                    tries=0 if outcome is _NOT_TOO_LATE else 1,
                )
            )
    return entries


def _mark_subscriptions(
    session: Session, work: Work, accepted: Sequence[str], others: Sequence[Answered], other_keys: OtherKeys
) -> None:
    """Say on each subscription how it went; who is tried with another key is only given that.

    A bad mark is for the subscription as it was when the batch was claimed: who subscribed again since
    (`updated_at`) is not touched by an answer to the old one.
    """
    by_verdict: dict[Verdict, list[str]] = defaultdict(list)
    for recipient, outcome in others:
        by_verdict[outcome.verdict].append(recipient.subscription_id)
    by_verdict.pop(Verdict.EXPIRED, None)  # it was not posted: that says nothing about the subscription
    if len(by_verdict) + bool(accepted) > 1 or other_keys.moved:
        # Batches of several notifications reach the same people at once. Marked verdict by verdict, they would
        # wait for each other in a circle; one statement alone goes by the key (see ledger.write).
        session.execute(
            _LOCK_IN_KEY_ORDER, {"ids": plain_array(chain(accepted, other_keys.moved, *by_verdict.values()))}
        )
    if accepted:
        values = {"claimed_at": work.claimed_at, "vapid_key_id": work.lane.vapid_key_id}
        session.execute(_MARK_ACCEPTED, {"ids": plain_array(accepted), **values})
    for verdict, ids in by_verdict.items():
        session.execute(
            update(Subscription)
            .where(_IS_ONE_OF.bindparams(ids=plain_array(ids)), Subscription.updated_at <= work.claimed_at)
            .values(
                failure_count=Subscription.failure_count + 1,
                last_failure_at=func.now(),
                last_failure_reason=verdict.value,
                **_MARKS.get(verdict, {}),
            )
        )
    other_key.move(session, work, other_keys)
