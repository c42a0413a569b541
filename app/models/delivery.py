"""The ledger: one row per notification and recipient, and the batches in which rows are sent."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    SmallInteger,
    Text,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    SENT = "sent"  # a push service accepted it
    DELIVERED = "delivered"  # the browser's service worker said so
    FAILED = "failed"
    EXPIRED = "expired"


class BatchState(StrEnum):
    READY = "ready"
    LEASED = "leased"
    CLOSED = "closed"


class DeliveryBatch(Base):
    """Up to 500 deliveries of one notification to one push service with one VAPID key.

    A worker holds a batch by its lease; the times are the database's. Tenant, host and key are its lane. `position`
    is its place among the batches of its notification in that lane, so that small ones do not wait for large ones.
    `claimed_at` is when somebody had it first, null while nobody has. The counts are those of its rows, written
    when it is closed: null in one that is open, or was closed by a version before them.
    """

    __tablename__ = "push_delivery_batches"
    __table_args__ = (
        CheckConstraint("state IN ('ready', 'leased', 'closed')", name="state"),
        CheckConstraint("(state = 'leased') = (lease_token IS NOT NULL)", name="leased_has_token"),
        Index("ix_push_delivery_batches_notification_id", "notification_id"),
        Index(
            "ix_push_delivery_batches_due",
            "not_before",
            "id",
            postgresql_where=text("state IN ('ready', 'leased')"),
        ),
        Index(
            "ix_push_delivery_batches_lane",
            "tenant_id",
            "endpoint_host",
            "vapid_key_id",
            "position",
            "not_before",
            "id",
            postgresql_where=text("state IN ('ready', 'leased')"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDv7
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("push_tenants.id"))
    notification_id: Mapped[UUID] = mapped_column(ForeignKey("push_notifications.id", ondelete="CASCADE"))
    planned_at: Mapped[datetime]
    endpoint_host: Mapped[str]
    vapid_key_id: Mapped[UUID] = mapped_column(ForeignKey("push_vapid_keys.id"))
    size: Mapped[int]
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
    position: Mapped[int] = mapped_column(server_default=text("0"))
    state: Mapped[BatchState] = mapped_column(Text)
    not_before: Mapped[datetime]
    lease_token: Mapped[UUID | None]
    leased_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    claimed_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    sent_count: Mapped[int | None]
    delivered_count: Mapped[int | None]
    failed_count: Mapped[int | None]
    expired_count: Mapped[int | None]


class DeliveryLog(Base):
    """One delivery. Partitioned by month of `planned_at`, which is the same for all of a notification's rows.

    No foreign keys to subscriptions and batches: the ledger outlives both.
    """

    __tablename__ = "push_delivery_logs"
    __table_args__ = (
        PrimaryKeyConstraint("planned_at", "notification_id", "subscription_id"),
        CheckConstraint("status IN ('pending', 'sent', 'delivered', 'failed', 'expired')", name="status"),
        Index("ix_push_delivery_logs_batch_id", "batch_id"),
        Index("ix_push_delivery_logs_subscription_id", "subscription_id"),
        {"postgresql_partition_by": "RANGE (planned_at)"},
    )

    planned_at: Mapped[datetime]
    notification_id: Mapped[UUID] = mapped_column(ForeignKey("push_notifications.id", ondelete="CASCADE"))
    subscription_id: Mapped[UUID]
    id: Mapped[UUID]  # UUIDv7
    tenant_id: Mapped[UUID]
    batch_id: Mapped[UUID]
    status: Mapped[DeliveryStatus] = mapped_column(Text)
    reason: Mapped[str | None]
    response_code: Mapped[int | None] = mapped_column(SmallInteger)
    error_message: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    deadline: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    push_message_id: Mapped[str | None]  # the push service's own name for the message


class Skip(Base):
    """Somebody passed over while planning (quiet hours, caps): outside the ledger, kept to explain it."""

    __tablename__ = "push_skips"
    __table_args__ = (
        PrimaryKeyConstraint("notification_id", "subscription_id"),
        Index("ix_push_skips_subscription_id", "subscription_id"),
        Index("ix_push_skips_tenant_id_created_at", "tenant_id", "created_at"),
    )

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("push_tenants.id"))
    notification_id: Mapped[UUID] = mapped_column(ForeignKey("push_notifications.id", ondelete="CASCADE"))
    subscription_id: Mapped[UUID]
    reason: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
