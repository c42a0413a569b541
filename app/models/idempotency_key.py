"""Answers already given, by the caller's Idempotency-Key."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, PrimaryKeyConstraint, SmallInteger, func
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base


class IdempotencyKey(Base):
    """A key and the request it stood for; the response is null while that request still runs."""

    __tablename__ = "push_idempotency_keys"
    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "key"),
        Index("ix_push_idempotency_keys_created_at", "created_at"),
    )

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("push_tenants.id"))
    key: Mapped[str]
    request_hash: Mapped[bytes]
    notification_id: Mapped[UUID | None]
    response_status: Mapped[int | None] = mapped_column(SmallInteger)
    response_body: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    locked_until: Mapped[datetime | None]
