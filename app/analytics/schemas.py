"""The answers of the analytics endpoints. Each figure's description is its definition.

Members appear in the order of the bases from right to left, so that a row begins with what it is about.
"""

from datetime import date, datetime

from pydantic import BaseModel, Field


class Asked(BaseModel):
    date_from: datetime = Field(description="Start of the range in UTC, included.")
    date_to: datetime = Field(description="End of the range in UTC, excluded.")
    as_of: datetime = Field(description="When these figures were counted; an answer may be 10 seconds old.")


class OfDay(BaseModel):
    day: date = Field(description="A day in UTC. Deliveries count on the day when they were planned.")


class OfPushService(BaseModel):
    push_service: str = Field(
        description="Host of the endpoints; `unknown` for deliveries that outlived their batch."
    )


class OfTopic(BaseModel):
    topic: str


class OfType(BaseModel):
    type: str = Field(description="The notification's type.")


class SubscriptionState(BaseModel):
    """What is stored now, whatever the range: total = active + disabled."""

    total: int = Field(description="Now: subscriptions that are stored, the deleted ones left out.")
    active: int = Field(description="Now: of `total`, those that are sent to: enabled and not gone.")
    disabled: int = Field(
        description="Now: of `total`, those not sent to: switched off, or reported gone by their push service."
    )


class SubscriptionEvents(BaseModel):
    """What happened in the range. One subscription can be new, gone and deleted in the same range."""

    new: int = Field(default=0, description="In the range: subscriptions made, also those that left since.")
    gone: int = Field(
        default=0, description="In the range: those that their push service reported gone, and that did not return."
    )
    deleted: int = Field(
        default=0, description="In the range: those that their owner removed, or another took over."
    )


class SubscriptionsOfDay(SubscriptionEvents, OfDay):
    pass


class SubscriptionsOfTopic(SubscriptionState, OfTopic):
    pass


class SubscriptionsOfPushService(SubscriptionEvents, SubscriptionState, OfPushService):
    pass


class SubscriptionStatistics(SubscriptionEvents, SubscriptionState, Asked):
    """The audience as it is now (total, active, disabled), and what happened in the range (new, gone, deleted)."""

    topic_count: int = Field(description="Now: how many different topics the stored subscriptions have.")
    by_topic: list[SubscriptionsOfTopic] = Field(
        description="Now: the 100 topics with most active subscriptions, largest first. A subscription counts"
        " under each of its topics, so these do not add up to `total`."
    )
    by_push_service: list[SubscriptionsOfPushService] = Field(
        description="Every push service, largest first. Adds up to the figures above."
    )
    by_day: list[SubscriptionsOfDay] = Field(
        description="Every UTC day of the range, in order, also those where nothing happened. Adds up to `new`,"
        " `gone` and `deleted`."
    )


class DeliveryCounts(BaseModel):
    """total = pending + sent + delivered + failed + expired."""

    total: int = Field(description="All deliveries, whatever their status.")
    pending: int = Field(default=0, description="Not yet accepted, and still to be tried.")
    sent: int = Field(default=0, description="Accepted by the push service; no receipt from the browser yet.")
    delivered: int = Field(default=0, description="Shown: the browser's service worker sent a receipt.")
    failed: int = Field(default=0, description="Given up; `by_reason` says why.")
    expired: int = Field(default=0, description="The subscription was gone, or the message's TTL was over.")
    acceptance_rate: float | None = Field(
        description="(sent + delivered) / (total - pending): the share of the decided deliveries that a push"
        " service accepted, 0 to 1. Null when none is decided."
    )
    delivery_rate: float | None = Field(
        description="delivered / (sent + delivered): the share of the accepted deliveries that a browser"
        " confirmed, 0 to 1. Null when none was accepted. Browsers that send no receipts keep it below 1."
    )


class DeliveriesOfDay(DeliveryCounts, OfDay):
    pass


class DeliveriesOfType(DeliveryCounts, OfType):
    pass


class DeliveriesOfPushService(DeliveryCounts, OfPushService):
    pass


class DeliveriesOfReason(BaseModel):
    status: str = Field(description="`failed` or `expired`.")
    reason: str = Field(description="Why, as in the delivery's `reason`; `unknown` when none was kept.")
    count: int


class DeliveryStatistics(DeliveryCounts, Asked):
    """Deliveries by the moment when they were planned: a receipt that comes days later counts there too."""

    type: str | None = Field(description="The type asked for; null means all.")
    by_day: list[DeliveriesOfDay] = Field(
        description="Every UTC day of the range, in order, also those without deliveries. Adds up to the"
        " figures above."
    )
    by_type: list[DeliveriesOfType] = Field(
        description="Every type that was sent, largest first. Adds up to the figures above."
    )
    by_push_service: list[DeliveriesOfPushService] = Field(
        description="Every push service, largest first. Adds up to the figures above."
    )
    by_reason: list[DeliveriesOfReason] = Field(
        description="Why deliveries failed or expired, most frequent first. Adds up to `failed` and `expired`."
    )
