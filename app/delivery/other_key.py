"""Trying another VAPID key: a browser that did not say with which one it subscribed may have had an earlier one.

It is taken for one of the key that was active then. While no push service has accepted a message for it and it is
refused (401, 403), it is moved from key to key: from each to the one made before it, from the first to the last.
The delivery goes with it, at once, until it would come to the active key: those made since cannot be the one. Who
was refused with all of them is marked and stays with the active one. After ten minutes the others are tried anew:
the fault may have been ours.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.db.arrays import plain_array
from app.db.session import database_now
from app.delivery import ledger
from app.delivery.claim import Work
from app.delivery.later import later_batch
from app.delivery.recipients import Answered, Recipient
from app.models import DeliveryStatus, VapidKey
from app.push.outcome import Outcome, Verdict

MARK_STANDS = timedelta(minutes=10)

_AS_STORED = text(
    """
    SELECT CAST(id AS text), vapid_key_id, coalesce(key_mismatch_at > now() - :mark_stands, false),
           key_is_assumed AND first_accepted_at IS NULL AND updated_at <= :claimed_at
    FROM push_subscriptions
    WHERE id = ANY(CAST(:ids AS uuid[])) AND deleted_at IS NULL
    """
)
# Only from the key that was refused: another notification may have moved it in the meantime.
_MOVE = text(
    """
    UPDATE push_subscriptions AS subscription
    SET vapid_key_id = moved.to_key
    FROM unnest(CAST(:ids AS uuid[]), CAST(:from_keys AS uuid[]), CAST(:to_keys AS uuid[]))
         AS moved(id, from_key, to_key)
    WHERE subscription.id = moved.id
      AND subscription.vapid_key_id = moved.from_key
      AND subscription.key_is_assumed
      AND subscription.first_accepted_at IS NULL
      AND subscription.updated_at <= :claimed_at
    """
)


@dataclass(slots=True)
class OtherKeys:
    """Who of those refused gets which other key, by subscription: from now on, and for this delivery at once."""

    refused: dict[str, Answered] = field(default_factory=dict)
    moved: dict[str, UUID] = field(default_factory=dict)
    tried: dict[str, UUID] = field(default_factory=dict)


def find(session: Session, work: Work, answered: Sequence[Answered]) -> OtherKeys:
    """Return which other keys the refused ones may have been made with. Costs nothing while nobody is refused."""
    found = OtherKeys({who.subscription_id: (who, outcome) for who, outcome in answered if _may_move(who, outcome)})
    keys = _keys_that_sign(session, work.lane.tenant_id) if found.refused else {}
    if len(keys) < 2:
        return found
    stored = session.execute(
        _AS_STORED, {"ids": plain_array(found.refused), "claimed_at": work.claimed_at, "mark_stands": MARK_STANDS}
    )
    for subscription_id, key_id, is_marked, may_move in stored:
        if is_marked:
            continue
        recipient, _ = found.refused[subscription_id]
        if str(key_id) != recipient.vapid_key_id:
            # It was moved, or subscribed again, since it was claimed: this answer is not about the key it has.
            if key_id in keys:
                found.tried[subscription_id] = key_id
        elif may_move:
            following = _key_after(key_id, keys)
            found.moved[subscription_id] = following
            if not keys[following]:
                found.tried[subscription_id] = following
    return found


def plan(session: Session, work: Work, found: OtherKeys) -> list[ledger.Entry]:
    """Plan the next try of those who get another key at once: in the lane of that key."""
    if not found.tried:
        return []
    now = database_now(session)
    members = Counter(found.tried.values())
    batches = {
        key_id: later_batch(session, work, size, now, vapid_key_id=key_id) for key_id, size in members.items()
    }
    entries = []
    for subscription_id, key_id in found.tried.items():
        _, outcome = found.refused[subscription_id]
        detail = outcome.detail or outcome.reason.value
        entries.append(
            ledger.Entry(
                subscription_id,
                DeliveryStatus.PENDING,
                outcome.reason.value,
                outcome.status_code,
                detail,
                batch_id=batches[key_id],
                tries=1,
            )
        )
    return entries


def move(session: Session, work: Work, found: OtherKeys) -> None:
    """Give subscriptions their other key. The caller has locked their rows."""
    if not found.moved:
        return
    session.execute(
        _MOVE,
        {
            "ids": plain_array(found.moved),
            "from_keys": plain_array(found.refused[name][0].vapid_key_id for name in found.moved),
            "to_keys": plain_array(found.moved.values()),
            "claimed_at": work.claimed_at,
        },
    )


def _may_move(recipient: Recipient, outcome: Outcome) -> bool:
    return outcome.verdict is Verdict.KEY_MISMATCH and not recipient.is_established


def _keys_that_sign(session: Session, tenant_id: UUID) -> dict[UUID, bool]:
    """Return the tenant's keys, the newest first, and whether each is the active one. None is retired meanwhile."""
    found = session.execute(
        select(VapidKey.id, VapidKey.is_active)
        .where(VapidKey.tenant_id == tenant_id, VapidKey.retired_at.is_(None))
        .order_by(VapidKey.created_at.desc(), VapidKey.id.desc())
        .with_for_update(read=True, key_share=True)
    )
    return {row.id: row.is_active for row in found}


def _key_after(key_id: UUID, keys: dict[UUID, bool]) -> UUID:
    in_order = list(keys)
    return in_order[(in_order.index(key_id) + 1) % len(keys)] if key_id in keys else in_order[0]
