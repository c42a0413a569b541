"""Recording: what the push services answered, written to the ledger and to the subscriptions."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from app.db.session import database_now
from app.delivery import ledger
from app.delivery.claim import Recipient, Work
from app.delivery.retry import delay_before_retry
from app.ids import new_id
from app.models import BatchState, DeliveryBatch, DeliveryStatus, Subscription
from app.push.outcome import Outcome, Verdict

STATUS_OF_VERDICT = {
    Verdict.ACCEPTED: DeliveryStatus.SENT,
    Verdict.GONE: DeliveryStatus.EXPIRED,
    Verdict.KEY_MISMATCH: DeliveryStatus.FAILED,
    Verdict.REJECTED: DeliveryStatus.FAILED,
    Verdict.TOO_LARGE: DeliveryStatus.FAILED,
    Verdict.RETRY: DeliveryStatus.PENDING,
    Verdict.EXPIRED: DeliveryStatus.EXPIRED,
}

Answered = tuple[Recipient, Outcome]


@dataclass(slots=True)
class BatchReport:
    """How many deliveries ended each way; `pending` will be tried again."""

    counts: Counter[DeliveryStatus] = field(default_factory=Counter)

    def add(self, other: "BatchReport") -> None:
        self.counts.update(other.counts)


def write(session: Session, work: Work, answered: Sequence[Answered]) -> BatchReport:
    """Record outcomes over rows still pending, mark the subscriptions, and move retries to a later batch."""
    if not answered:
        return BatchReport()
    entries = [_final_entry(recipient, outcome) for recipient, outcome in answered if not _is_retry(outcome)]
    entries += _retry_entries(session, work, [pair for pair in answered if _is_retry(pair[1])])
    changed = ledger.write(session, work.notification.id, entries, planned_at=work.planned_at)
    _mark_subscriptions(session, work, answered)
    return BatchReport(Counter(entry.status for entry in entries if entry.subscription_id in changed))


def _is_retry(outcome: Outcome) -> bool:
    return outcome.verdict is Verdict.RETRY


def _final_entry(recipient: Recipient, outcome: Outcome) -> ledger.Entry:
    accepted = outcome.verdict is Verdict.ACCEPTED
    return ledger.Entry(
        recipient.subscription_id,
        STATUS_OF_VERDICT[outcome.verdict],
        reason=None if accepted else outcome.reason.value,
        response_code=outcome.status_code,
        error_message=None if accepted else outcome.detail or outcome.reason.value,
        push_message_id=outcome.message_id,
        tries=1,
    )


def _retry_entries(session: Session, work: Work, answered: Sequence[Answered]) -> list[ledger.Entry]:
    """Plan the next try of each; a next try that would come past the deadline ends the delivery instead."""
    by_wait: dict[int | None, list[Answered]] = defaultdict(list)
    for recipient, outcome in answered:
        by_wait[outcome.retry_after_seconds].append((recipient, outcome))
    now = database_now(session)
    entries = []
    for wait, members in by_wait.items():
        not_before = now + delay_before_retry(work.attempt, wait)
        in_time = sum(not_before < recipient.deadline for recipient, _ in members)
        batch_id = _later_batch(session, work, in_time, not_before) if in_time else None
        for recipient, outcome in members:
            is_in_time = not_before < recipient.deadline
            entries.append(
                ledger.Entry(
                    recipient.subscription_id,
                    DeliveryStatus.PENDING if is_in_time else DeliveryStatus.EXPIRED,
                    reason=outcome.reason.value if is_in_time else "deadline",
                    response_code=outcome.status_code,
                    error_message=outcome.detail or outcome.reason.value,
                    batch_id=batch_id if is_in_time else None,
                    tries=1,
                )
            )
    return entries


def _later_batch(session: Session, work: Work, size: int, not_before: datetime) -> UUID:
    batch_id = new_id()
    session.execute(
        insert(DeliveryBatch).values(
            id=batch_id,
            tenant_id=work.notification.tenant_id,
            notification_id=work.notification.id,
            planned_at=work.planned_at,
            endpoint_host=work.endpoint_host,
            vapid_key_id=work.vapid_key_id,
            size=size,
            attempt=work.attempt + 1,
            state=BatchState.READY,
            not_before=not_before,
        )
    )
    return batch_id


def _mark_subscriptions(session: Session, work: Work, answered: Sequence[Answered]) -> None:
    """Say on each subscription how it went.

    A bad mark is for the subscription as it was when the batch was claimed: who subscribed again since
    (`updated_at`) is not touched by an answer to the old one.
    """
    by_verdict: dict[Verdict, list[UUID]] = defaultdict(list)
    for recipient, outcome in answered:
        by_verdict[outcome.verdict].append(recipient.subscription_id)
    _lock_in_key_order(session, [recipient.subscription_id for recipient, _ in answered])
    accepted = by_verdict.pop(Verdict.ACCEPTED, [])
    if accepted:
        session.execute(
            update(Subscription)
            .where(Subscription.id.in_(accepted))
            .values(
                last_used=func.now(),
                first_accepted_at=func.coalesce(Subscription.first_accepted_at, func.now()),
                failure_count=0,
                key_mismatch_at=None,
            )
        )
    for verdict, ids in by_verdict.items():
        session.execute(
            update(Subscription)
            .where(Subscription.id.in_(ids), Subscription.updated_at <= work.claimed_at)
            .values(
                failure_count=Subscription.failure_count + 1,
                last_failure_at=func.now(),
                last_failure_reason=verdict.value,
                **_MARKS.get(verdict, {}),
            )
        )


def _lock_in_key_order(session: Session, subscription_ids: list[UUID]) -> None:
    # Batches of several notifications reach the same people at once. Marked verdict by verdict, each in whatever
    # order PostgreSQL finds them, they would wait for each other in a circle.
    session.execute(
        select(Subscription.id)
        .where(Subscription.id.in_(subscription_ids))
        .order_by(Subscription.id)
        .with_for_update(key_share=True)
    )


_MARKS: dict[Verdict, dict[str, Any]] = {
    Verdict.GONE: {"gone_at": func.now(), "enabled": False},
    Verdict.KEY_MISMATCH: {"key_mismatch_at": func.now()},
}
