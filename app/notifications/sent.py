"""What a send is answered: the notification as it stands, its counts, and what its sender is to know."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.delivery.forms import Payloads
from app.models import DeliveryLog, Notification
from app.notifications import repository
from app.notifications.idempotency import Answer
from app.notifications.intake import warnings_about
from app.notifications.schemas import LISTED_DELIVERIES, Delivery, SendResult, SendWarning


@dataclass(frozen=True, slots=True)
class Sent:
    """A notification after its request: the live counts, and the deliveries when they are few."""

    notification: Notification
    counts: repository.StatusCounts
    deliveries: list[DeliveryLog] | None
    warnings: list[SendWarning]
    is_complete: bool  # every recipient was tried, or settled otherwise, at least once

    @property
    def answer(self) -> Answer:
        """What its send is answered."""
        result = SendResult(
            notification_id=self.notification.id,
            status=self.notification.state,
            targeted=self.notification.targeted,
            status_url=f"/notifications/{self.notification.id}/",
            deliveries=self.deliveries and [Delivery.model_validate(row) for row in self.deliveries],
            warnings=self.warnings,
            **self.counts,
        )
        return Answer(200 if self.is_complete else 202, result.model_dump(mode="json"))


@dataclass(frozen=True, slots=True)
class Replay:
    """The answer to a send that was begun before, by its Idempotency-Key."""

    answer: Answer


def as_it_stands(session: Session, payloads: Payloads, notification: Notification, *, is_complete: bool) -> Sent:
    """Return a stored notification as it stands now."""
    counts = repository.counts_of(session, [notification])[notification.id]
    deliveries = None
    is_small = notification.targeted is not None and notification.targeted <= LISTED_DELIVERIES
    if is_small and notification.frozen_counts is None:
        deliveries = repository.deliveries(session, notification, after=None, limit=LISTED_DELIVERIES, status=None)
    return Sent(notification, counts, deliveries, warnings_about(notification, payloads), is_complete=is_complete)
