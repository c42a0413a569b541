"""Notifications: what to say, to whom, and how far its sending has come."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base


class NotificationState(StrEnum):
    SCHEDULED = "scheduled"
    PLANNING = "planning"
    SENDING = "sending"
    SENT = "sent"
    CANCELLED = "cancelled"


class Notification(Base):
    """A notification and its target criteria.

    The audience is those who were subscribed at `accepted_at`. `targeted` is null until planning is complete.
    """

    __tablename__ = "push_notifications"
    __table_args__ = (
        CheckConstraint("state IN ('scheduled', 'planning', 'sending', 'sent', 'cancelled')", name="state"),
        CheckConstraint("urgency IN ('very-low', 'low', 'normal', 'high')", name="urgency"),
        CheckConstraint("ttl_seconds >= 0", name="ttl_seconds"),
        Index("ix_push_notifications_tenant_id_created_at", "tenant_id", "created_at", "id"),
        Index("ix_push_notifications_tenant_id_type", "tenant_id", "type", "created_at"),
        Index(
            "ix_push_notifications_tenant_id_idempotency_key",
            "tenant_id",
            "idempotency_key",
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        Index(
            "ix_push_notifications_unfinished",
            "state",
            "scheduled_at",
            postgresql_where=text("state IN ('scheduled', 'planning', 'sending')"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDv7
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("push_tenants.id"))
    title: Mapped[str]
    body: Mapped[str]
    icon: Mapped[str | None]
    image: Mapped[str | None]
    badge: Mapped[str | None]
    url: Mapped[str | None]
    tag: Mapped[str | None]
    type: Mapped[str]
    actions: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    data: Mapped[dict[str, Any] | None]
    app_badge: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    scheduled_at: Mapped[datetime | None]

    is_broadcast: Mapped[bool]
    target_topics: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    # Ten thousand ids each: read only by who asks for them, not with every batch and every line of the history.
    target_user_ids: Mapped[list[str] | None] = mapped_column(ARRAY(Text), deferred=True, deferred_group="targets")
    target_subscription_ids: Mapped[list[UUID] | None] = mapped_column(
        ARRAY(Uuid), deferred=True, deferred_group="targets"
    )

    ttl_seconds: Mapped[int]
    urgency: Mapped[str]
    collapse_key: Mapped[str | None]
    state: Mapped[NotificationState] = mapped_column(Text)
    accepted_at: Mapped[datetime]
    plan_after: Mapped[datetime] = mapped_column(server_default=func.now())  # until then its request plans it
    planning_cursor: Mapped[UUID | None]  # the last subscription planned
    planned_count: Mapped[int] = mapped_column(server_default=text("0"))
    targeted: Mapped[int | None]
    finished_at: Mapped[datetime | None]
    idempotency_key: Mapped[str | None]
    # Null while the ledger's rows exist; retention freezes the counts before it drops them.
    frozen_counts: Mapped[dict[str, Any] | None]
