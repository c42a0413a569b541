"""Erasing and exporting what is kept of a user. Whose request that is, the router asks.

An erasure is many short transactions, so that a person with ten thousand subscriptions holds nobody up. Until the
last of them a subscription's row is there to find the rest by: one that broke off is simply repeated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from app.db.session import SessionFactory, transaction
from app.delivery import erasing
from app.models import DeliveryLog, Notification, Receipt, Subscription
from app.users import repository
from app.users.cursor import Cursor
from app.users.repository import START, Place

MARKED_AT_ONCE = 1_000
ERASED_AT_ONCE = 100
DELIVERIES_AT_ONCE = 1_000


@dataclass(slots=True)
class Erasure:
    """How many rows were erased."""

    subscriptions: int = 0
    deliveries: int = 0
    receipts: int = 0
    skips: int = 0
    notifications: int = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """A page of what is kept; what is not of deliveries is in the first only."""

    subscriptions: list[Subscription]
    notifications: list[Notification]
    deliveries: list[DeliveryLog]
    receipts: list[Receipt]
    next_cursor: Cursor | None


def erase(sessions: SessionFactory, tenant_id: UUID, user_id: str) -> Erasure:
    """Delete the user's subscriptions and receipts, and every link to them. Safe to repeat.

    Deliveries keep their status; a pending one has failed, reason `erased`. Who subscribes meanwhile as this user
    stays subscribed: that is a new decision.
    """
    done = Erasure()
    with transaction(sessions) as session:
        own = repository.subscription_ids_of(session, tenant_id, user_id)
    for ids in _parts(own, MARKED_AT_ONCE):
        with transaction(sessions) as session:
            repository.mark_deleted(session, ids)
    if own:
        with transaction(sessions) as session:
            erasing.wait_for_planners(session, tenant_id)
    place: Place | None = START
    while place is not None:
        with transaction(sessions) as session:
            named = repository.forget_targets(session, tenant_id, user_id, own, place)
        done.notifications += len(named.notification_ids)
        place = named.place
    if own:
        with transaction(sessions) as session:
            done.skips = repository.forget_skips(session, tenant_id, own)
    for ids in _parts(own, ERASED_AT_ONCE):
        _erase(sessions, tenant_id, ids, done)
    return done


def export(session: Session, tenant_id: UUID, user_id: str, *, after: Cursor | None) -> Kept:
    """Return what is kept of the user, with DELIVERIES_AT_ONCE deliveries at most."""
    own = repository.subscription_ids_of(session, tenant_id, user_id)
    deliveries = repository.deliveries_of(session, own, after=after, limit=DELIVERIES_AT_ONCE + 1)
    page = deliveries[:DELIVERIES_AT_ONCE]
    last = page[-1] if len(deliveries) > DELIVERIES_AT_ONCE else None
    is_first = after is None
    return Kept(
        subscriptions=repository.subscriptions_of(session, tenant_id, user_id) if is_first else [],
        notifications=_naming(session, tenant_id, user_id, own) if is_first else [],
        deliveries=page,
        receipts=repository.receipts_of(session, page),
        next_cursor=None if last is None else Cursor(last.planned_at, last.notification_id, last.subscription_id),
    )


def _erase(sessions: SessionFactory, tenant_id: UUID, ids: Sequence[UUID], done: Erasure) -> None:
    """Erase some subscriptions whose users' names are no longer anywhere else: their rows last."""
    is_unlinked = False
    while not is_unlinked:
        with transaction(sessions) as session:
            unlinked = erasing.unlink(session, ids)
            repository.forget_answers(session, tenant_id, unlinked.notification_ids)
        done.deliveries += unlinked.rows
        is_unlinked = unlinked.is_all
    forgotten = repository.RECEIPTS_AT_ONCE
    while forgotten == repository.RECEIPTS_AT_ONCE:
        with transaction(sessions) as session:
            forgotten = repository.forget_receipts(session, ids)
        done.receipts += forgotten
    with transaction(sessions) as session:
        done.subscriptions += repository.delete_for_good(session, ids)


def _naming(session: Session, tenant_id: UUID, user_id: str, own: Sequence[UUID]) -> list[Notification]:
    """Return the notifications that named the user, or a subscription of the user's; the newest first."""
    ids: list[UUID] = []
    place: Place | None = START
    while place is not None:
        named = repository.named_in(session, tenant_id, user_id, own, place)
        ids += named.notification_ids
        place = named.place
    return repository.notifications_of(session, ids)


def _parts(ids: Sequence[UUID], size: int) -> Iterator[Sequence[UUID]]:
    return (ids[first : first + size] for first in range(0, len(ids), size))
