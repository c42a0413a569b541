"""Who depends on each VAPID key: subscriptions that nothing but messages signed with it would reach."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, func, not_, or_, select
from sqlalchemy.orm import Session

from app.models import Quarantine, Subscription, Tenant, VapidKey
from app.models.subscription import IS_ACTIVE

LATELY = timedelta(days=7)

_IS_STORED = Subscription.deleted_at.is_(None)
_CAN_BE_SENT_TO = and_(Subscription.enabled, Subscription.gone_at.is_(None))
_IN_QUARANTINE = Subscription.quarantine_id.in_(select(Quarantine.id).where(Quarantine.ended_at.is_(None)))
_CAN_RETURN = and_(not_(Subscription.enabled), or_(Subscription.gone_at.is_(None), _IN_QUARANTINE))
_COUNTS = (
    func.count().filter(_CAN_BE_SENT_TO),
    func.count().filter(_CAN_BE_SENT_TO, Subscription.last_used > func.now() - LATELY),
    func.count().filter(_CAN_RETURN),
)


class KeyState(StrEnum):
    ACTIVE = "active"  # browsers subscribe with it
    SIGNING = "signing"  # for those who subscribed with it before
    RETIRED = "retired"  # nothing is signed with it


_STATE: ColumnElement[str] = case(
    (VapidKey.retired_at.is_not(None), KeyState.RETIRED.value),
    (VapidKey.is_active, KeyState.ACTIVE.value),
    else_=KeyState.SIGNING.value,
)


class Dependents(NamedTuple):
    """Subscriptions of one key: active ones; of these, those sent to lately; those off, who may come back.

    Off are those that are disabled, and those in a quarantine that nobody has ended.
    """

    active: int = 0
    lately: int = 0
    dormant: int = 0

    @property
    def total(self) -> int:
        return self.active + self.dormant


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """One key of one tenant, and who depends on it."""

    tenant: str
    public_key: str
    state: KeyState
    is_configured: bool
    created_at: datetime
    retired_at: datetime | None
    dependents: Dependents


def dependents_of(session: Session, key_id: UUID) -> Dependents:
    """Count who depends on a key. Served by ix_push_subscriptions_vapid_key_id, but reads all of them."""
    return Dependents(
        *session.execute(select(*_COUNTS).where(Subscription.vapid_key_id == key_id, _IS_STORED)).one()
    )


def status_of_keys(session: Session) -> list[KeyStatus]:
    """Return every key, by tenant, the newest first. Reads all subscriptions."""
    counted = session.execute(
        select(Subscription.vapid_key_id, *_COUNTS).where(_IS_STORED).group_by(Subscription.vapid_key_id)
    )
    dependents = {key_id: Dependents(*counts) for key_id, *counts in counted}
    found = session.execute(
        select(VapidKey, Tenant.slug, _STATE)
        .join(Tenant, Tenant.id == VapidKey.tenant_id)
        .order_by(Tenant.id, VapidKey.created_at.desc(), VapidKey.id.desc())
    )
    return [
        KeyStatus(
            slug,
            key.public_key,
            KeyState(state),
            key.is_configured,
            key.created_at,
            key.retired_at,
            dependents.get(key.id, Dependents()),
        )
        for key, slug, state in found
    ]


def active_subscriptions_by_key(session: Session, *, of_all: int) -> list[tuple[str, KeyState, int]]:
    """Return of every key its public part, its state and how many active subscriptions it has.

    `of_all` is how many there are together: with one key, nobody has to be counted again; else all are read.
    """
    keys = session.execute(select(VapidKey.id, VapidKey.public_key, _STATE)).all()
    if len(keys) == 1:
        return [(public_key, KeyState(state), of_all) for _, public_key, state in keys]
    counted = session.execute(
        select(Subscription.vapid_key_id, func.count().label("active"))
        .where(IS_ACTIVE)
        .group_by(Subscription.vapid_key_id)
    )
    counts = {row.vapid_key_id: row.active for row in counted}
    return [(public_key, KeyState(state), counts.get(key_id, 0)) for key_id, public_key, state in keys]
