"""Suspected mass losses: subscriptions that a push service called gone, too many at once to be believed."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base


class Quarantine(Base):
    """One trip of the guard, for one tenant, push service host and VAPID key; open until an operator ends it.

    The counts are of established subscriptions, when it tripped: those gone, and a lower bound of those tried.
    Who is in it, the subscriptions say.
    """

    __tablename__ = "push_quarantines"
    __table_args__ = (
        CheckConstraint("ended_as IN ('released', 'pruned', 'restored')", name="ended_as"),
        CheckConstraint("(ended_at IS NULL) = (ended_as IS NULL)", name="ended"),
        Index(
            "uq_push_quarantines_open",
            "tenant_id",
            "endpoint_host",
            "vapid_key_id",
            unique=True,
            postgresql_where=text("ended_at IS NULL"),
        ),
        Index("ix_push_quarantines_lane", "tenant_id", "endpoint_host", "vapid_key_id", "ended_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDv7
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("push_tenants.id"))
    endpoint_host: Mapped[str]
    vapid_key_id: Mapped[UUID] = mapped_column(ForeignKey("push_vapid_keys.id"))
    tripped_at: Mapped[datetime] = mapped_column(server_default=func.now())
    gone_count: Mapped[int]
    tried_count: Mapped[int]
    ended_at: Mapped[datetime | None]
    ended_as: Mapped[str | None]
    ended_count: Mapped[int | None]
