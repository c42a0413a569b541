"""The answers of the analytics endpoints. Each figure's description is its definition."""

from datetime import date, datetime

from pydantic import BaseModel, Field, computed_field


class Statistics(BaseModel):
    date_from: datetime = Field(description="Start of the range in UTC, included.")
    date_to: datetime = Field(description="End of the range in UTC, excluded.")
    as_of: datetime = Field(description="When these figures were counted; an answer may be 10 seconds old.")


class SubscriptionState(BaseModel):
    """What is stored at `as_of`, whatever the range: total = active + disabled."""

    total: int = Field(description="Now: subscriptions that are stored, the deleted ones left out.")
    active: int = Field(description="Now: of `total`, those that are sent to: enabled and not gone.")

    @computed_field(  # type: ignore[prop-decorator]
        description="Now: of `total`, those not sent to: switched off, or reported gone by their push service."
    )
    @property
    def disabled(self) -> int:
        return self.total - self.active


class SubscriptionEvents(BaseModel):
    """What happened in the range. One subscription can be new, gone and deleted in the same range."""

    new: int = Field(default=0, description="In the range: subscriptions made, those that left since included.")
    gone: int = Field(
        default=0,
        description="In the range: subscriptions that their push service reported gone and that did not return.",
    )
    deleted: int = Field(
        default=0, description="In the range: subscriptions removed by their owner, or taken over by another."
    )


class SubscriptionsOfDay(SubscriptionEvents):
    day: date = Field(description="A day in UTC.")


class SubscriptionsOfTopic(SubscriptionState):
    topic: str


class SubscriptionsOfPushService(SubscriptionState, SubscriptionEvents):
    push_service: str = Field(description="Host of the subscriptions' endpoints.")


class SubscriptionStatistics(SubscriptionState, SubscriptionEvents, Statistics):
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


EXPLAINED_STATUSES = ("failed", "expired")  # the final ones whose reason tells something


class DeliveryCounts(BaseModel):
    """total = pending + sent + delivered + failed + expired."""

    pending: int = Field(default=0, description="Not yet accepted, and still to be tried.")
    sent: int = Field(default=0, description="Accepted by the push service; no receipt from the browser yet.")
    delivered: int = Field(default=0, description="Shown: the browser's service worker sent a receipt.")
    failed: int = Field(default=0, description="Given up; `by_reason` says why.")
    expired: int = Field(default=0, description="The subscription was gone, or the message's TTL was over.")

    @computed_field(description="All deliveries, whatever their status.")  # type: ignore[prop-decorator]
    @property
    def total(self) -> int:
        return self.pending + self._accepted + self.failed + self.expired

    @computed_field(  # type: ignore[prop-decorator]
        description="(sent + delivered) / (total - pending): the share of the decided deliveries that a push"
        " service accepted, 0 to 1. Null when none is decided."
    )
    @property
    def acceptance_rate(self) -> float | None:
        return _share(self._accepted, self.total - self.pending)

    @computed_field(  # type: ignore[prop-decorator]
        description="delivered / (sent + delivered): the share of the accepted deliveries that a browser"
        " confirmed, 0 to 1. Null when none was accepted. Browsers that send no receipts keep it below 1."
    )
    @property
    def delivery_rate(self) -> float | None:
        return _share(self.delivered, self._accepted)

    @property
    def _accepted(self) -> int:
        return self.sent + self.delivered


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


class DeliveriesOfDay(DeliveryCounts):
    day: date = Field(description="A day in UTC: the one on which the notification's deliveries were planned.")


class DeliveriesOfType(DeliveryCounts):
    type: str = Field(description="The notification's type.")


class DeliveriesOfPushService(DeliveryCounts):
    push_service: str = Field(description="Host of the endpoints, or `unknown` once its batches are purged.")


class DeliveriesOfReason(BaseModel):
    status: str = Field(description="`failed` or `expired`.")
    reason: str = Field(description="Why, as in the delivery's `reason`; `unknown` when none was kept.")
    count: int


class DeliveryStatistics(DeliveryCounts, Statistics):
    """Deliveries by the moment their notification was planned: a later receipt counts on that same day."""

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
