"""What service workers reported, and the rollups made of it and of the ledger."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    Date,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base


class Receipt(Base):
    """One event of one delivery, reported once."""

    __tablename__ = "push_receipts"
    __table_args__ = (
        CheckConstraint("event IN ('displayed', 'clicked', 'closed')", name="event"),
        UniqueConstraint("notification_id", "subscription_id", "event"),
        Index("ix_push_receipts_subscription_id", "subscription_id"),
        Index("ix_push_receipts_tenant_id_received_at", "tenant_id", "received_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDv7
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("push_tenants.id"))
    planned_at: Mapped[datetime]
    notification_id: Mapped[UUID] = mapped_column(ForeignKey("push_notifications.id", ondelete="CASCADE"))
    subscription_id: Mapped[UUID]
    event: Mapped[str]
    action: Mapped[str | None]
    occurred_at: Mapped[datetime]
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Rollup(Base):
    """A day's facts by notification type and push service: rebuilt from the ledger, never incremented."""

    __tablename__ = "push_rollups"
    __table_args__ = (PrimaryKeyConstraint("tenant_id", "day", "notification_type", "endpoint_host"),)

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("push_tenants.id"))
    day: Mapped[date] = mapped_column(Date)
    notification_type: Mapped[str]
    endpoint_host: Mapped[str]
    pending: Mapped[int] = mapped_column(server_default=text("0"))
    sent: Mapped[int] = mapped_column(server_default=text("0"))
    delivered: Mapped[int] = mapped_column(server_default=text("0"))
    failed: Mapped[int] = mapped_column(server_default=text("0"))
    expired: Mapped[int] = mapped_column(server_default=text("0"))
    clicked: Mapped[int] = mapped_column(server_default=text("0"))
    closed: Mapped[int] = mapped_column(server_default=text("0"))
    rebuilt_at: Mapped[datetime] = mapped_column(server_default=func.now())
