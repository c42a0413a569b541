"""Rows of push_subscriptions. Who may touch them is the service's matter."""

from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.orm import Session

from app.models import Subscription


def lock_endpoint(session: Session, tenant_id: UUID, endpoint_hash: bytes) -> Subscription | None:
    """Return the stored subscription of an endpoint, locked. Until the transaction ends nobody else adds one.

    A row's lock cannot do that alone: there may be no row yet, or one handed over while we wait for it.
    """
    _wait_for_turn(session, endpoint_hash)
    # Served by uq_push_subscriptions_tenant_id_endpoint_hash.
    return session.scalars(
        select(Subscription)
        .where(
            Subscription.tenant_id == tenant_id,
            Subscription.endpoint_hash == endpoint_hash,
            Subscription.deleted_at.is_(None),
        )
        .with_for_update()
    ).one_or_none()


def lock_with_endpoint(
    session: Session, tenant_id: UUID, subscription_id: UUID, endpoint_hash: bytes
) -> tuple[Subscription | None, Subscription | None]:
    """Return a subscription, and the other one that has this endpoint, both locked; None for what there is not.

    Until the transaction ends nobody else takes the endpoint. The one that the subscription has now needs no such
    lock: who wants it waits for the row. Everybody takes one endpoint's lock, then rows in the order of their ids.
    """
    _wait_for_turn(session, endpoint_hash)
    rows = session.scalars(
        select(Subscription)
        .where(
            Subscription.tenant_id == tenant_id,
            or_(Subscription.id == subscription_id, Subscription.endpoint_hash == endpoint_hash),
            Subscription.deleted_at.is_(None),
        )
        .order_by(Subscription.id)
        .with_for_update()
    ).all()
    stored = next((row for row in rows if row.id == subscription_id), None)
    other = next((row for row in rows if row.id != subscription_id), None)
    return stored, other


def tenant_of(session: Session, subscription_id: UUID) -> UUID | None:
    """Return whose a stored subscription is; None when there is none."""
    return session.scalars(
        select(Subscription.tenant_id).where(Subscription.id == subscription_id, Subscription.deleted_at.is_(None))
    ).one_or_none()


def find(session: Session, tenant_id: UUID, subscription_id: UUID, *, lock: bool = False) -> Subscription | None:
    """Return a subscription of the tenant that is not deleted; locked until the transaction ends, if asked."""
    query = select(Subscription).where(
        Subscription.id == subscription_id,
        Subscription.tenant_id == tenant_id,
        Subscription.deleted_at.is_(None),
    )
    return session.scalars(query.with_for_update() if lock else query).one_or_none()


def add(session: Session, **values: Any) -> Subscription:
    return session.scalars(insert(Subscription).values(**values).returning(Subscription)).one()


def change(session: Session, subscription: Subscription, **values: Any) -> Subscription:
    """Write new values, and when, unless that is among them: the row comes back as it is stored now."""
    return session.scalars(
        update(Subscription)
        .where(Subscription.id == subscription.id)
        .values({"updated_at": func.now(), **values})
        .returning(Subscription)
        .execution_options(populate_existing=True)
    ).one()


def mark_deleted(session: Session, subscription: Subscription) -> None:
    """Soft delete: the ledger and the statistics still refer to the row, until it is purged."""
    change(session, subscription, deleted_at=func.now())


def _wait_for_turn(session: Session, endpoint_hash: bytes) -> None:
    # Half of the hash is enough: two endpoints that share it wait for each other, no more.
    turn = int.from_bytes(endpoint_hash[:8], "big", signed=True)
    session.execute(select(func.pg_advisory_xact_lock(turn)))
