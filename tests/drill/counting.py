"""Accounting for everybody: what the ledger says beside what came to the push service, endpoint by endpoint."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text

from app.db.session import SessionFactory, transaction
from app.delivery.payload import topic_of
from app.models import Notification
from tests.drill.push_service import Arrival, PushService

_CLAIMED = text(
    """
    SELECT batch.lease_token, log.notification_id, log.subscription_id
    FROM push_delivery_batches AS batch
    JOIN push_delivery_logs AS log ON log.batch_id = batch.id AND log.planned_at = batch.planned_at
    WHERE batch.state = 'leased' AND log.status = 'pending'
    """
)
_ROWS = text(
    """
    SELECT log.subscription_id, log.status, log.reason, log.sent_at, subscription.endpoint
    FROM push_notifications AS notification
    JOIN push_delivery_logs AS log
      ON log.planned_at = notification.accepted_at AND log.notification_id = notification.id
    JOIN push_subscriptions AS subscription ON subscription.id = log.subscription_id
    WHERE notification.id = :notification_id
    """
)
NEVER = Arrival(0, 0.0, 0, None, None)


class Claims:
    """What was claimed and not recorded whenever a process died: that much may be sent twice, and no more."""

    def __init__(self, sessions: SessionFactory) -> None:
        self._sessions = sessions
        self._seen: set[UUID] = set()
        self._lost: Counter[tuple[UUID, UUID]] = Counter()  # how often, by notification and subscription

    def note(self) -> int:
        """Look at the claims of a process that has just died; return how many deliveries they hold.

        Claims seen before are not counted again: their leases have not run out yet.
        """
        with transaction(self._sessions) as session:
            claimed = list(session.execute(_CLAIMED))
        new = [row for row in claimed if row.lease_token not in self._seen]
        self._seen |= {row.lease_token for row in new}
        self._lost.update((row.notification_id, row.subscription_id) for row in new)
        return len(new)

    def of(self, notification_id: UUID, subscription_id: UUID) -> int:
        return self._lost[notification_id, subscription_id]


@dataclass(slots=True)
class Tally:
    """What became of notifications. The lists name endpoints; all of them have to be empty."""

    by_status: Counter[str] = field(default_factory=Counter)
    by_reason: Counter[str] = field(default_factory=Counter)
    messages: int = 0  # accepted by the push service
    repeats: int = 0  # of them, those after the first for the same endpoint
    may_repeat: int = 0  # claimed and not recorded when somebody died
    untold: int = 0  # accepted, but the answer may have been lost with its connection
    lost: list[str] = field(default_factory=list)  # sent, says the ledger; nothing came
    unrecorded: list[str] = field(default_factory=list)  # something came; not sent, says the ledger
    unexplained: list[str] = field(default_factory=list)  # came more often than deaths and lost answers can explain
    after_the_end: list[str] = field(default_factory=list)  # came again after its row was final
    strangers: list[str] = field(default_factory=list)  # something came, and there is no row

    @property
    def recipients(self) -> int:
        return self.by_status.total()

    @property
    def faults(self) -> dict[str, int]:
        """How many endpoints there are in each list; nothing, when everybody is accounted for."""
        names = ("lost", "unrecorded", "unexplained", "after_the_end", "strangers")
        return {name: len(getattr(self, name)) for name in names if getattr(self, name)}

    def __str__(self) -> str:
        return (
            f"{self.by_status['sent']:,} sent, {self.messages:,} came: lost {len(self.lost)}, "
            f"repeats {self.repeats:,} of {self.may_repeat + self.untold:,} in flight"
        )


def tally(
    sessions: SessionFactory,
    push_service: PushService,
    notification_ids: Iterable[UUID],
    claims: Claims | None = None,
) -> Tally:
    """Count everybody. Without claims, nobody died, and nobody may get anything twice."""
    result = Tally()
    for notification_id in notification_ids:
        with transaction(sessions) as session:
            topic = topic_of(session.get_one(Notification, notification_id))
            rows = list(session.execute(_ROWS, {"notification_id": notification_id}))
        arrivals = push_service.arrivals(topic)
        for row in rows:
            may_repeat = claims.of(notification_id, row.subscription_id) if claims else 0
            count(result, row, arrivals.pop(row.endpoint, NEVER), may_repeat)
        result.strangers += arrivals
    return result


def count(result: Tally, row: Row[Any], arrival: Arrival, may_repeat: int) -> None:
    """Add one delivery: its row, what came of it, and how often it was in flight when somebody died."""
    result.by_status[row.status] += 1
    if row.reason is not None:
        result.by_reason[row.reason] += 1
    repeats = max(0, arrival.accepted - 1)
    result.messages += arrival.accepted
    result.repeats += repeats
    result.may_repeat += may_repeat
    result.untold += arrival.untold
    if row.status == "sent" and not arrival.accepted:
        result.lost.append(row.endpoint)
    if row.status != "sent" and arrival.accepted:
        result.unrecorded.append(row.endpoint)
    if repeats > may_repeat + arrival.untold:
        result.unexplained.append(row.endpoint)
    if row.status == "sent" and arrival.last_accepted_at > _unix(row.sent_at):
        result.after_the_end.append(row.endpoint)


def _unix(moment: datetime) -> float:
    return moment.timestamp()
