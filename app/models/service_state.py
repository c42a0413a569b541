"""What all processes know of a push service, per tenant, host and VAPID key: its lane."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Double, ForeignKey, PrimaryKeyConstraint, SmallInteger, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base


class ServiceState(Base):
    """Pauses and paces, and the counts of the present window that decide about pauses.

    `strikes` are the pauses in a row, without anything accepted in between. `slowed_to` is what the lane was slowed
    down to, in messages a second, at `slowed_at`; it recovers with time. Up to `next_slot_at` its pace is taken.
    Nothing writes `window_accepted` and `window_gone`.
    """

    __tablename__ = "push_service_states"
    __table_args__ = (PrimaryKeyConstraint("tenant_id", "endpoint_host", "vapid_key_id"),)

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("push_tenants.id"))
    endpoint_host: Mapped[str]
    vapid_key_id: Mapped[UUID] = mapped_column(ForeignKey("push_vapid_keys.id"))
    paused_until: Mapped[datetime | None]
    reason: Mapped[str | None]
    strikes: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    slowed_to: Mapped[float | None] = mapped_column(Double)
    slowed_at: Mapped[datetime | None]
    next_slot_at: Mapped[datetime | None]
    window_started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    window_tried: Mapped[int] = mapped_column(server_default=text("0"))
    window_accepted: Mapped[int] = mapped_column(server_default=text("0"))
    window_gone: Mapped[int] = mapped_column(server_default=text("0"))
    window_refused: Mapped[int] = mapped_column(server_default=text("0"))
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
