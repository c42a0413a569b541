"""Builders that put subscriptions, notifications and deliveries of chosen kinds and days into a database.

And whether the ledger in it adds up.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from app.db.session import SessionFactory
from app.delivery import audit
from app.delivery.partitions import ensure_partitions
from app.ids import new_id
from app.models import (
    DEFAULT_TENANT_ID,
    BatchState,
    DeliveryBatch,
    DeliveryLog,
    DeliveryStatus,
    Notification,
    NotificationState,
    Subscription,
    Tenant,
    VapidKey,
)

FCM = "fcm.googleapis.com"
MOZILLA = "updates.push.services.mozilla.com"
BATCH_SIZE = 500


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


def add_tenant(session: Session, slug: str) -> UUID:
    """Store a tenant and return its id."""
    tenant = Tenant(id=new_id(), slug=slug, name=slug.title())
    session.add(tenant)
    session.flush()
    return tenant.id


def add_subscription(
    session: Session,
    tenant_id: UUID = DEFAULT_TENANT_ID,
    *,
    created_at: datetime,
    host: str = FCM,
    topics: Sequence[str] = (),
    enabled: bool = True,
    gone_at: datetime | None = None,
    deleted_at: datetime | None = None,
    user_id: str | None = None,
) -> UUID:
    """Store a subscription and return its id. A gone one is disabled too, as the service does it."""
    subscription_id = new_id()
    endpoint = f"https://{host}/send/{subscription_id}"
    session.execute(
        insert(Subscription).values(
            id=subscription_id,
            tenant_id=tenant_id,
            user_id=user_id,
            endpoint=endpoint,
            endpoint_hash=hashlib.sha256(endpoint.encode()).digest(),
            endpoint_host=host,
            p256dh="not a key: nothing is sent to it",
            auth="not a secret",
            vapid_key_id=_vapid_key(session, tenant_id),
            topics=list(topics),
            enabled=enabled and gone_at is None,
            created_at=created_at,
            updated_at=created_at,
            gone_at=gone_at,
            deleted_at=deleted_at,
        )
    )
    return subscription_id


def add_notification(
    session: Session, tenant_id: UUID = DEFAULT_TENANT_ID, *, state: NotificationState, **columns: Any
) -> UUID:
    """Store a broadcast and return its id. It was accepted now unless these columns say otherwise."""
    notification_id = new_id()
    values = {
        "id": notification_id,
        "tenant_id": tenant_id,
        "title": "Title",
        "body": "Body",
        "type": "general",
        "is_broadcast": True,
        "ttl_seconds": 4 * 24 * 3600,
        "urgency": "normal",
        "state": state,
        "accepted_at": func.now(),
    }
    session.execute(insert(Notification).values(values | columns))
    return notification_id


def add_deliveries(
    session: Session,
    tenant_id: UUID = DEFAULT_TENANT_ID,
    *,
    planned_at: datetime,
    counts: Mapping[str, int],
    type: str = "general",
    host: str = FCM,
    reason: str | None = None,
) -> UUID:
    """Store a notification whose deliveries to one push service have these counts by status; return its id.

    `reason` is that of the failed and expired ones. The recipients are not stored: the ledger outlives them.
    """
    ensure_partitions(session, planned_at)
    pending, targeted = counts.get("pending", 0), sum(counts.values())
    notification_id = add_notification(
        session,
        tenant_id,
        state=NotificationState.SENDING if pending else NotificationState.SENT,
        type=type,
        created_at=planned_at,
        accepted_at=planned_at,
        planned_count=targeted,
        targeted=targeted,
        finished_at=None if pending else planned_at,
    )
    statuses = [DeliveryStatus(status) for status, count in counts.items() for _ in range(count)]
    for first in range(0, len(statuses), BATCH_SIZE):
        part = statuses[first : first + BATCH_SIZE]
        batch_id = _add_batch(session, tenant_id, notification_id, planned_at=planned_at, host=host, statuses=part)
        session.execute(
            insert(DeliveryLog),
            [
                {
                    "planned_at": planned_at,
                    "notification_id": notification_id,
                    "subscription_id": new_id(),
                    "id": new_id(),
                    "tenant_id": tenant_id,
                    "batch_id": batch_id,
                    "status": status,
                    "reason": reason if status in (DeliveryStatus.FAILED, DeliveryStatus.EXPIRED) else None,
                    "attempts": 0 if status is DeliveryStatus.PENDING else 1,
                    "deadline": planned_at + timedelta(days=4),
                    "sent_at": planned_at if status in (DeliveryStatus.SENT, DeliveryStatus.DELIVERED) else None,
                    "delivered_at": planned_at if status is DeliveryStatus.DELIVERED else None,
                }
                for status in part
            ],
        )
    return notification_id


def adds_up(sessions: SessionFactory) -> bool:
    """Return what the audit of the whole ledger says."""
    with audit.snapshot(sessions) as session:
        return audit.examine(session).adds_up


def _add_batch(
    session: Session,
    tenant_id: UUID,
    notification_id: UUID,
    *,
    planned_at: datetime,
    host: str,
    statuses: Sequence[DeliveryStatus],
) -> UUID:
    is_open = DeliveryStatus.PENDING in statuses
    batch = DeliveryBatch(
        id=new_id(),
        tenant_id=tenant_id,
        notification_id=notification_id,
        planned_at=planned_at,
        endpoint_host=host,
        vapid_key_id=_vapid_key(session, tenant_id),
        size=len(statuses),
        state=BatchState.READY if is_open else BatchState.CLOSED,
        not_before=planned_at,
        claimed_at=None if set(statuses) == {DeliveryStatus.PENDING} else planned_at,
        closed_at=None if is_open else planned_at,
    )
    session.add(batch)
    session.flush()
    return batch.id


def _vapid_key(session: Session, tenant_id: UUID) -> UUID:
    """Return a key of the tenant. One made here is inactive and cannot sign: nothing built here is ever sent."""
    found = session.scalar(select(VapidKey.id).where(VapidKey.tenant_id == tenant_id).limit(1))
    if found is not None:
        return found
    key = VapidKey(
        id=new_id(), tenant_id=tenant_id, public_key="ledger", private_key_sealed=b"none", is_active=False
    )
    session.add(key)
    session.flush()
    return key.id
