"""Push subscriptions: the audience."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base

IS_STORED = text("deleted_at IS NULL")
IS_ACTIVE = text("enabled AND deleted_at IS NULL AND gone_at IS NULL")


class Subscription(Base):
    """One browser's push subscription.

    `gone_at` and `deleted_at` are marks, reversible until purged. Active: enabled, neither gone nor deleted.
    Established: a push service has accepted a message for it, so it exists. Whoever is gone while a mass loss is
    suspected is in quarantine, too, and is not purged. `key_is_assumed`: nobody said with which VAPID key it was
    made.
    """

    __tablename__ = "push_subscriptions"
    __table_args__ = (
        CheckConstraint("octet_length(endpoint_hash) = 32", name="endpoint_hash_is_sha256"),
        Index(
            "uq_push_subscriptions_tenant_id_endpoint_hash",
            "tenant_id",
            "endpoint_hash",
            unique=True,
            postgresql_where=IS_STORED,
        ),
        Index("ix_push_subscriptions_active", "tenant_id", "id", postgresql_where=IS_ACTIVE),
        Index(
            "ix_push_subscriptions_active_topics",
            "topics",
            postgresql_using="gin",
            postgresql_where=IS_ACTIVE,
        ),
        Index(
            "ix_push_subscriptions_tenant_id_user_id",
            "tenant_id",
            "user_id",
            postgresql_where=text("user_id IS NOT NULL"),
        ),
        Index("ix_push_subscriptions_tenant_id_created_at", "tenant_id", "created_at"),
        Index("ix_push_subscriptions_vapid_key_id", "vapid_key_id"),
        Index("ix_push_subscriptions_gone_at", "gone_at", postgresql_where=text("gone_at IS NOT NULL")),
        Index("ix_push_subscriptions_deleted_at", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
        Index(
            "ix_push_subscriptions_quarantine_id",
            "quarantine_id",
            postgresql_where=text("quarantine_id IS NOT NULL"),
        ),
        # Every broadcast updates every row (last_used). With room for that in its page, no index is written to.
        {"postgresql_with": {"fillfactor": 50}},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("push_tenants.id"))
    user_id: Mapped[str | None]
    endpoint: Mapped[str]
    endpoint_hash: Mapped[bytes]
    endpoint_host: Mapped[str]  # with its port when that is not 443
    p256dh: Mapped[str]  # base64url without padding
    auth: Mapped[str]  # base64url without padding
    vapid_key_id: Mapped[UUID] = mapped_column(ForeignKey("push_vapid_keys.id"))
    topics: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    enabled: Mapped[bool] = mapped_column(server_default=text("true"))
    expires_at: Mapped[datetime | None]  # the browser's expirationTime
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_used: Mapped[datetime | None]
    first_accepted_at: Mapped[datetime | None]
    gone_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    key_mismatch_at: Mapped[datetime | None]
    key_is_assumed: Mapped[bool] = mapped_column(server_default=text("true"))
    quarantined_at: Mapped[datetime | None]
    quarantine_id: Mapped[UUID | None]
    failure_count: Mapped[int] = mapped_column(server_default=text("0"))
    last_failure_at: Mapped[datetime | None]
    last_failure_reason: Mapped[str | None]
