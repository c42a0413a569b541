"""What one notification's ledger has to add up to, and in plain words what is wrong when it does not.

Pure: audit.py reads the facts from the database.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from app.models import DeliveryStatus, NotificationState

_PLANNED_STATES = (NotificationState.SENDING, NotificationState.SENT, NotificationState.CANCELLED)
_FINISHED_STATES = (NotificationState.SENT, NotificationState.CANCELLED)


class Rule(StrEnum):
    """The parts of the ledger's invariant; the values are for machines."""

    PLANNED = "planned_is_the_sum"
    TARGETED = "targeted_is_planned"
    FROZEN = "frozen_is_planned"
    PENDING_HAS_OPEN_BATCH = "pending_has_open_batch"
    BATCH_IS_ITS_OWN = "batch_is_its_own"
    BATCH_FINDS_ITS_ROWS = "batch_finds_its_rows"
    BATCH_COUNTS_ITS_ROWS = "batch_counts_its_rows"
    FINISHED = "finished_is_finished"
    REASON = "final_has_reason"
    NO_STRAYS = "no_strays"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    rule: Rule
    text: str


@dataclass(frozen=True, slots=True)
class Facts:
    """One notification, its rows and its batches, as they are in one snapshot.

    The counts are of rows unless named otherwise; `by_status` are the frozen ones when retention froze them. A
    counted batch is a closed one with counts of its own.
    """

    notification_id: UUID
    accepted_at: datetime
    state: NotificationState
    finished_at: datetime | None
    planned: int
    targeted: int | None
    is_frozen: bool
    by_status: dict[DeliveryStatus, int]
    rows: int
    pending_without_batch: int
    pending_in_closed_batch: int
    in_anothers_batch: int
    final_without_reason: int
    open_batches: int
    misdated_batches: int
    miscounted_batches: int
    counted_by_batches: int
    rows_of_counted_batches: int

    @property
    def pending(self) -> int:
        return self.by_status[DeliveryStatus.PENDING]


def findings_of(facts: Facts) -> list[Finding]:
    """Return what does not add up; nothing, as it should be at every moment."""
    return [
        *_about_the_sum(facts),
        *_about_the_batches(facts),
        *_about_the_end(facts),
    ]


def _about_the_sum(facts: Facts) -> Iterator[Finding]:
    counted = sum(facts.by_status.values())
    if facts.is_frozen:
        if counted != facts.planned:
            yield Finding(Rule.FROZEN, f"{facts.planned:,} planned, but the frozen counts are of {counted:,}")
        if facts.rows > facts.planned:  # fewer: retention is just at it
            yield Finding(Rule.FROZEN, f"frozen with {facts.planned:,}, yet there are {facts.rows:,} rows")
    elif facts.rows != facts.planned:
        yield Finding(Rule.PLANNED, f"{facts.planned:,} planned, but {facts.rows:,} deliveries in the ledger")
    elif counted != facts.rows:
        yield Finding(Rule.PLANNED, f"{facts.rows - counted:,} deliveries have a status that does not exist")
    if facts.state in _PLANNED_STATES and facts.targeted != facts.planned:
        said = "nothing" if facts.targeted is None else f"{facts.targeted:,}"
        yield Finding(Rule.TARGETED, f"{facts.planned:,} planned, but targeted says {said}")
    if facts.state not in _PLANNED_STATES and facts.targeted is not None:
        yield Finding(Rule.TARGETED, f"{facts.state}, yet targeted says {facts.targeted:,} already")
    if facts.final_without_reason:
        yield Finding(Rule.REASON, f"{facts.final_without_reason:,} failed or expired without a reason")


def _about_the_batches(facts: Facts) -> Iterator[Finding]:
    if facts.pending_without_batch:
        yield Finding(
            Rule.PENDING_HAS_OPEN_BATCH,
            f"{facts.pending_without_batch:,} pending have no batch: nobody will send them",
        )
    if facts.pending_in_closed_batch:
        yield Finding(
            Rule.PENDING_HAS_OPEN_BATCH,
            f"{facts.pending_in_closed_batch:,} pending are in a closed batch: nobody will send them",
        )
    if facts.in_anothers_batch:
        yield Finding(Rule.BATCH_IS_ITS_OWN, f"{facts.in_anothers_batch:,} are in a batch of another notification")
    if facts.misdated_batches:
        yield Finding(
            Rule.BATCH_FINDS_ITS_ROWS,
            f"{facts.misdated_batches:,} open batches have another planned_at: they will not find their rows",
        )
    if facts.is_frozen:
        return  # batches and rows are on their way out, a few at a time
    if facts.miscounted_batches:
        yield Finding(
            Rule.BATCH_COUNTS_ITS_ROWS,
            f"{facts.miscounted_batches:,} closed batches have other counts than their rows",
        )
    elif facts.rows and facts.counted_by_batches != facts.rows_of_counted_batches:
        yield Finding(
            Rule.BATCH_COUNTS_ITS_ROWS,
            f"closed batches have counted {facts.counted_by_batches:,}, but"
            f" {facts.rows_of_counted_batches:,} deliveries are in them",
        )


def _about_the_end(facts: Facts) -> Iterator[Finding]:
    is_finished = facts.state in _FINISHED_STATES and facts.finished_at is not None
    if is_finished and facts.pending:
        yield Finding(Rule.FINISHED, f"{facts.state} and finished, yet {facts.pending:,} are pending")
    if is_finished and facts.open_batches:
        yield Finding(Rule.FINISHED, f"{facts.state} and finished, yet {facts.open_batches:,} batches are open")
    if facts.state is NotificationState.SENT and facts.finished_at is None:
        yield Finding(Rule.FINISHED, "sent, but when it was finished is not noted")
    if facts.state not in _FINISHED_STATES and facts.finished_at is not None:
        yield Finding(Rule.FINISHED, f"{facts.state}, yet noted as finished")
    is_ending = facts.state in (NotificationState.SENDING, NotificationState.CANCELLED)
    if is_ending and facts.finished_at is None and not facts.open_batches:
        yield Finding(Rule.FINISHED, f"{facts.state}, yet no batch is open: nobody will finish it")
