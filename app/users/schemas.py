"""What services are told of a user."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.models import DeliveryStatus, NotificationState


class Erased(BaseModel):
    """What this request erased, in rows; zeros when there was nothing."""

    subscriptions: int = Field(description="Deleted for good, also those that were deleted softly, or gone.")
    deliveries: int = Field(description="They keep their status for the counts, and no longer say whose they were.")
    receipts: int
    skips: int
    notifications: int = Field(description="Those that named the user, or a subscription of the user's.")


class KeptSubscription(BaseModel):
    """All that is stored, without `auth`: whoever had this document could take the subscription over."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    endpoint: str
    p256dh: str
    topics: list[str]
    enabled: bool
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    last_used: datetime | None
    first_accepted_at: datetime | None
    gone_at: datetime | None
    deleted_at: datetime | None
    key_mismatch_at: datetime | None
    quarantined_at: datetime | None
    failure_count: int
    last_failure_at: datetime | None
    last_failure_reason: str | None


class KeptDelivery(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    notification_id: UUID
    subscription_id: UUID
    planned_at: datetime
    status: DeliveryStatus
    reason: str | None
    response_code: int | None
    error_message: str | None
    attempts: int
    deadline: datetime
    sent_at: datetime | None
    delivered_at: datetime | None
    push_message_id: str | None


class KeptReceipt(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    notification_id: UUID
    subscription_id: UUID
    event: str
    action: str | None
    occurred_at: datetime
    received_at: datetime


class KeptNotification(BaseModel):
    """A notification that named the user, or a subscription of the user's; not whom it named besides."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    type: str
    title: str
    body: str
    url: str | None
    data: dict[str, Any] | None
    state: NotificationState
    created_at: datetime
    scheduled_at: datetime | None


class Export(BaseModel):
    """What is kept of a user. The pages after the first have deliveries and their receipts only."""

    user_id: str
    subscriptions: list[KeptSubscription]
    notifications: list[KeptNotification]
    deliveries: list[KeptDelivery] = Field(description="The newest first.")
    receipts: list[KeptReceipt] = Field(description="Of these deliveries.")
    next_cursor: str | None = Field(description="Hand it back for the deliveries after these.")
