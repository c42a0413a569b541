"""Statistics of one tenant, put together from the counts of the database."""

from collections import Counter, defaultdict
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.analytics import queries, schemas
from app.analytics.period import Period
from app.analytics.queries import Facet
from app.models import DeliveryStatus

MAX_TOPICS = 100  # subscribers name topics, so how many there are is not ours to say
_EXPLAINED = (DeliveryStatus.FAILED, DeliveryStatus.EXPIRED)


def subscription_statistics(
    session: Session, tenant_id: UUID, *, period: Period, now: datetime
) -> schemas.SubscriptionStatistics:
    """Return the audience as it is now, and who came and left in the period."""
    states = {tally.endpoint_host: tally for tally in queries.count_subscriptions_by_host(session, tenant_id)}
    topics = queries.count_subscriptions_by_topic(session, tenant_id, limit=MAX_TOPICS)
    of_day: dict[date | None, Counter[str]] = defaultdict(Counter)
    of_host: dict[str | None, Counter[str]] = defaultdict(Counter)
    for tally in queries.count_subscription_events(session, tenant_id, period=period):
        counter = of_host[tally.endpoint_host] if tally.day is None else of_day[tally.day]
        counter[tally.event] += tally.number
    nobody = queries.HostTally("", total=0, active=0)
    by_push_service = [
        schemas.SubscriptionsOfPushService(push_service=host, **_state(states.get(host, nobody)), **of_host[host])
        for host in states.keys() | {host for host in of_host if host is not None}
    ]
    return schemas.SubscriptionStatistics(
        date_from=period.start,
        date_to=period.end,
        as_of=now,
        **_state(*states.values()),
        **sum(of_day.values(), Counter()),
        topic_count=topics[0].topic_count if topics else 0,
        by_topic=[schemas.SubscriptionsOfTopic(topic=tally.topic, **_state(tally)) for tally in topics],
        by_push_service=sorted(by_push_service, key=lambda row: (-row.total, row.push_service)),
        by_day=[schemas.SubscriptionsOfDay(day=day, **of_day[day]) for day in period.days()],
    )


def _state(*tallies: queries.HostTally | queries.TopicTally) -> dict[str, int]:
    total = sum(tally.total for tally in tallies)
    active = sum(tally.active for tally in tallies)
    return {"total": total, "active": active, "disabled": total - active}


def delivery_statistics(
    session: Session, tenant_id: UUID, *, period: Period, notification_type: str | None, now: datetime
) -> schemas.DeliveryStatistics:
    """Return what became of the deliveries planned in the period, of one notification type or of all."""
    counts: dict[Facet, dict[str | date | None, Counter[str]]] = {facet: defaultdict(Counter) for facet in Facet}
    for tally in queries.count_deliveries(session, tenant_id, period=period, notification_type=notification_type):
        counts[tally.facet][tally.key][tally.status] += tally.number
    by_type = [
        schemas.DeliveriesOfType(type=str(type_), **_figures(statuses))
        for type_, statuses in counts[Facet.TYPE].items()
    ]
    by_push_service = [
        schemas.DeliveriesOfPushService(push_service=str(host), **_figures(statuses))
        for host, statuses in counts[Facet.PUSH_SERVICE].items()
    ]
    of_day = counts[Facet.DAY]
    return schemas.DeliveryStatistics(
        date_from=period.start,
        date_to=period.end,
        as_of=now,
        type=notification_type,
        **_figures(sum(of_day.values(), Counter())),
        by_day=[schemas.DeliveriesOfDay(day=day, **_figures(of_day[day])) for day in period.days()],
        by_type=sorted(by_type, key=lambda row: (-row.total, row.type)),
        by_push_service=sorted(by_push_service, key=lambda row: (-row.total, row.push_service)),
        by_reason=_by_reason(counts[Facet.REASON]),
    )


def _figures(statuses: Counter[str]) -> dict[str, Any]:
    """Return the counts by status, their total, and the rates; what they mean, schemas.DeliveryCounts says."""
    total = statuses.total()
    decided = total - statuses[DeliveryStatus.PENDING]
    accepted = statuses[DeliveryStatus.SENT] + statuses[DeliveryStatus.DELIVERED]
    return {
        **statuses,
        "total": total,
        "acceptance_rate": accepted / decided if decided else None,
        "delivery_rate": statuses[DeliveryStatus.DELIVERED] / accepted if accepted else None,
    }


def _by_reason(counts: dict[str | date | None, Counter[str]]) -> list[schemas.DeliveriesOfReason]:
    rows = [
        schemas.DeliveriesOfReason(status=status, reason=str(reason or queries.UNKNOWN), count=statuses[status])
        for reason, statuses in counts.items()
        for status in _EXPLAINED
        if statuses[status]
    ]
    return sorted(rows, key=lambda row: (-row.count, row.status, row.reason))
