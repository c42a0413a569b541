"""The application server keys (RFC 8292) of each tenant."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base


class VapidKey(Base):
    """A P-256 key pair: the public part in base64url without padding, the private part encrypted at rest.

    The active one is what browsers subscribe with; every other signs for its subscribers until it is retired.
    `is_configured` marks the pair that the environment's variables held last.
    """

    __tablename__ = "push_vapid_keys"
    __table_args__ = (
        UniqueConstraint("tenant_id", "public_key"),
        Index(
            "uq_push_vapid_keys_active",
            "tenant_id",
            unique=True,
            postgresql_where=text("is_active"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("push_tenants.id"))
    public_key: Mapped[str]
    private_key_sealed: Mapped[bytes]
    is_active: Mapped[bool]
    is_configured: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    retired_at: Mapped[datetime | None]
