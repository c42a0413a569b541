"""What clients send about notifications, and what they get back. Unknown members are refused."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app.models import DeliveryStatus, NotificationState
from app.push.message import Urgency
from app.push.request import MAX_TTL_SECONDS
from app.web.text import Instant, JsonObject, NonBlankText, PlainText

MAX_TARGETS = 10_000
MAX_TOPICS = 100
LISTED_DELIVERIES = 100
MAX_APP_BADGE = 2**31 - 1  # what the column holds


def _web_url(value: str) -> str:
    if any(character <= " " or character == "\x7f" for character in value):
        raise ValueError("must not contain spaces or control characters")
    try:
        scheme = urlsplit(value).scheme
    except ValueError as error:
        raise ValueError("is not a URL") from error
    if scheme not in {"", "http", "https"}:
        raise ValueError("must be an http or https URL, or relative to the site")
    return value


WebUrl = Annotated[NonBlankText, Field(max_length=2048), AfterValidator(_web_url)]
Topic = Annotated[NonBlankText, Field(max_length=100), AfterValidator(str.strip)]
UserId = Annotated[NonBlankText, Field(max_length=255)]


class HistoryStatus(StrEnum):
    """A notification's state, or a delivery's status; `sent` is both."""

    SCHEDULED = NotificationState.SCHEDULED
    PLANNING = NotificationState.PLANNING
    SENDING = NotificationState.SENDING
    SENT = NotificationState.SENT
    CANCELLED = NotificationState.CANCELLED
    PENDING = DeliveryStatus.PENDING
    DELIVERED = DeliveryStatus.DELIVERED
    FAILED = DeliveryStatus.FAILED
    EXPIRED = DeliveryStatus.EXPIRED


class Action(BaseModel):
    """A button of the notification."""

    model_config = ConfigDict(extra="forbid")

    action: Annotated[NonBlankText, Field(max_length=100)]
    title: Annotated[NonBlankText, Field(max_length=200)]
    icon: WebUrl | None = None
    url: WebUrl | None = Field(default=None, description="Where this button leads. Default: where the click leads.")


class Content(BaseModel):
    """What to show, and how to send it."""

    model_config = ConfigDict(extra="forbid")

    title: Annotated[NonBlankText, Field(max_length=1000)]
    body: Annotated[PlainText, Field(max_length=4000)]
    icon: WebUrl | None = None
    image: WebUrl | None = None
    badge: WebUrl | None = None
    url: WebUrl | None = Field(default=None, description="Where a click leads; relative to SITE_URL.")
    tag: Annotated[NonBlankText, Field(max_length=256)] | None = Field(
        default=None, description="A later notification with the same tag replaces this one on screen."
    )
    type: Annotated[NonBlankText, Field(max_length=64)] = "general"
    actions: Annotated[list[Action], Field(max_length=10)] = []
    data: JsonObject | None = Field(default=None, description="Handed to the service worker as it is.")
    app_badge: Annotated[int, Field(strict=True, ge=0, le=MAX_APP_BADGE)] | None = Field(
        default=None,
        description="The number on the icon of the installed app; 0 takes it away. Default: as many notifications"
        " as the app has on screen.",
    )
    ttl: Annotated[int, Field(strict=True, ge=0, le=MAX_TTL_SECONDS)] | None = Field(
        default=None,
        description="Seconds that a push service may keep the message for a browser that is away; 0: now or never."
        " Default: PUSH_DEFAULT_TTL_SECONDS.",
    )
    urgency: Urgency = Urgency.NORMAL
    collapse_key: Annotated[NonBlankText, Field(max_length=256)] | None = Field(
        default=None, description="A later message with the same key replaces this one while it is undelivered."
    )
    scheduled_at: Instant | None = Field(
        default=None,
        description="When to send it, a year ahead at most; its audience is chosen then. A time gone by: now.",
    )


class BroadcastRequest(Content):
    """A notification for all active subscribers."""


class SendRequest(Content):
    """A notification and whom it is for: whoever matches any of the targets gets it, once."""

    topics: Annotated[list[Topic], Field(max_length=MAX_TOPICS)] | None = None
    user_ids: Annotated[list[UserId], Field(max_length=MAX_TARGETS)] | None = None
    subscription_ids: Annotated[list[UUID], Field(max_length=MAX_TARGETS)] | None = None

    @model_validator(mode="after")
    def _has_a_target(self) -> Self:
        if not (self.topics or self.user_ids or self.subscription_ids):
            raise ValueError(
                "name a target: topics, user_ids or subscription_ids. To reach everybody, use"
                " POST /notifications/broadcast/"
            )
        return self


class Delivery(BaseModel):
    """One recipient's row of the delivery log."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    notification_id: UUID
    subscription_id: UUID
    status: DeliveryStatus
    reason: str | None = Field(description="Why, when it failed, expired or waits for its next try.")
    response_code: int | None = Field(description="The push service's last answer.")
    error_message: str | None
    attempts: int
    sent_at: datetime | None = Field(description="When it was last posted.")
    delivered_at: datetime | None = Field(description="When the browser reported to have shown it.")


class Counts(BaseModel):
    """The deliveries by status. `sent`: a push service accepted it; `delivered`: the browser showed it."""

    pending: int = 0
    sent: int = 0
    delivered: int = 0
    failed: int = 0
    expired: int = 0


class SendWarning(BaseModel):
    """Something about an accepted notification that the sender may want to change next time."""

    code: str = Field(description="For programs: `large-payload`.")
    detail: str = Field(description="What the sender can do.")
    bytes: int = Field(description="The size of its push message before encryption.")
    limit: int = Field(description="Up to how many bytes every browser gets it.")


class SendResult(Counts):
    """What became of a notification so far. `targeted` is null until its audience is planned."""

    notification_id: UUID
    status: NotificationState
    targeted: int | None
    status_url: str
    deliveries: list[Delivery] | None = Field(
        default=None, description=f"The deliveries, when there are at most {LISTED_DELIVERIES}."
    )
    warnings: list[SendWarning] = []


class NotificationSummary(Counts):
    """A notification and the counts of its deliveries now."""

    id: UUID
    title: str
    body: str
    icon: str | None
    image: str | None
    badge: str | None
    url: str | None
    tag: str | None
    type: str
    actions: list[Action]
    data: dict[str, Any] | None
    app_badge: int | None
    created_at: datetime
    scheduled_at: datetime | None
    status: NotificationState
    is_broadcast: bool
    topics: list[str] | None
    ttl: int
    urgency: Urgency
    collapse_key: str | None
    targeted: int | None
    finished_at: datetime | None


class Pace(BaseModel):
    """How fast a notification is being sent. Null while nothing of it moves, or nothing is known yet."""

    rate_per_second: float | None = Field(description="Deliveries sent or settled, over the last ten seconds.")
    seconds_left: int | None = Field(
        description="How long the pending ones take at this rate. Null until the whole audience is planned, and"
        " while all that is left waits for its next try."
    )


class Notification(NotificationSummary, Pace):
    """A notification with everybody it named, up to ten thousand each, and its pace."""

    user_ids: list[str] | None
    subscription_ids: list[UUID] | None


class Progress(Counts, Pace):
    """How far a notification has come: the data of each event."""

    id: UUID
    status: NotificationState
    targeted: int | None
    finished_at: datetime | None = Field(description="Set when it is sent, or cancelled and settled.")


class History(BaseModel):
    """A page of notifications, the newest first."""

    items: list[NotificationSummary]
    total: int
    page: int
    limit: int


class DeliveryPage(BaseModel):
    """Deliveries in the order of their subscription ids. Hand `next_cursor` back for those after them."""

    items: list[Delivery]
    next_cursor: UUID | None
