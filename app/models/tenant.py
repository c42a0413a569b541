"""Tenants and their API keys. Every other row belongs to a tenant; a default one always exists."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ForeignKey, Index, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base

DEFAULT_TENANT_ID: Final = UUID("00000000-0000-7000-8000-000000000001")


class Tenant(Base):
    """An audience of its own: nothing of one tenant is visible to another.

    Tokens with its `jwt_issuer` are checked with its own public keys: one or more in PEM, one after the other.
    """

    __tablename__ = "push_tenants"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    jwt_issuer: Mapped[str | None] = mapped_column(unique=True)
    jwt_public_key: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ApiKey(Base):
    """A credential of a service. Only its SHA-256 is kept.

    Keys of one name belong to one service: two of them may live at a time, so that it can be rotated. With
    `allowed_networks` (CIDR) it is taken from there only.
    """

    __tablename__ = "push_api_keys"
    __table_args__ = (Index("ix_push_api_keys_tenant_id", "tenant_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("push_tenants.id"))
    name: Mapped[str]
    prefix: Mapped[str]  # its first characters, for people to tell keys apart
    key_hash: Mapped[bytes] = mapped_column(unique=True)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    allowed_networks: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
