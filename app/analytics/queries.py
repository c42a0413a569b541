"""The statements behind the statistics. They count in the database and return small lists.

Every figure that must add up to another comes from the same statement, so that both see the same rows.
"""

from collections.abc import Sequence
from datetime import date, datetime
from enum import IntEnum
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Date,
    Select,
    Subquery,
    Text,
    and_,
    cast,
    func,
    literal,
    null,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.analytics.period import Period
from app.models import DeliveryBatch, DeliveryLog, DeliveryStatus, Notification, Subscription

UNKNOWN = "unknown"
_IS_STORED = Subscription.deleted_at.is_(None)
_IS_ACTIVE = and_(Subscription.enabled, _IS_STORED, Subscription.gone_at.is_(None))


class Facet(IntEnum):
    """What a count of deliveries is about. The value is SQL's GROUPING(): a zero bit marks the column."""

    DAY = 0b0111
    TYPE = 0b1011
    PUSH_SERVICE = 0b1101
    REASON = 0b1110


class DeliveryTally(NamedTuple):
    facet: Facet
    key: str | date | None  # the day, type, push service or reason
    status: DeliveryStatus
    number: int


class HostTally(NamedTuple):
    endpoint_host: str
    total: int
    active: int


class TopicTally(NamedTuple):
    topic: str
    total: int
    active: int
    topic_count: int  # of all topics, also those beyond the limit


class EventTally(NamedTuple):
    event: str  # new, gone or deleted
    day: date | None  # null in the counts by host
    endpoint_host: str | None  # null in the counts by day
    number: int


def count_deliveries(
    session: Session, tenant_id: UUID, *, period: Period, notification_type: str | None
) -> list[DeliveryTally]:
    """Count the period's deliveries four times over: by status and each facet."""
    facts = _delivery_facts(tenant_id, period, notification_type)
    keys = (facts.c.day, facts.c.type, facts.c.endpoint_host, facts.c.reason)
    statement = select(
        func.grouping(*keys).label("facet"),
        *keys,
        facts.c.status,
        cast(func.sum(facts.c.count), BigInteger),
    ).group_by(func.grouping_sets(*(tuple_(key, facts.c.status) for key in keys)))
    tallies = []
    for bits, *values, status, count in session.execute(statement):
        facet = Facet(bits)
        tallies.append(DeliveryTally(facet, values[list(Facet).index(facet)], DeliveryStatus(status), count))
    return tallies


def _delivery_facts(tenant_id: UUID, period: Period, notification_type: str | None) -> Subquery:
    """Select day, type, endpoint_host, status, reason and count.

    The ledger is reduced before it is joined: a batch is one notification, one host and up to 500 rows.
    Served by the partitions' primary keys, which start with planned_at. Where retention was, the frozen counts
    stand for rows: of these the push service and the reason are not known any more.
    """
    reduced = (
        select(
            func.min(DeliveryLog.planned_at).label("planned_at"),  # one value per notification: no key is needed
            DeliveryLog.notification_id,
            DeliveryLog.batch_id,
            DeliveryLog.status,
            DeliveryLog.reason,
            func.count().label("count"),
        )
        .where(
            DeliveryLog.tenant_id == tenant_id,
            DeliveryLog.planned_at >= period.start,
            DeliveryLog.planned_at < period.end,
        )
        .group_by(DeliveryLog.notification_id, DeliveryLog.batch_id, DeliveryLog.status, DeliveryLog.reason)
        .subquery()
    )
    facts = (
        select(
            cast(func.timezone("UTC", reduced.c.planned_at), Date).label("day"),
            Notification.type,
            func.coalesce(DeliveryBatch.endpoint_host, UNKNOWN).label("endpoint_host"),
            reduced.c.status,
            reduced.c.reason,
            reduced.c.count,
        )
        .join(Notification, Notification.id == reduced.c.notification_id)
        .outerjoin(DeliveryBatch, DeliveryBatch.id == reduced.c.batch_id)
        .where(Notification.frozen_counts.is_(None))
    )
    frozen = _frozen_facts(tenant_id, period)
    if notification_type is not None:
        facts = facts.where(Notification.type == notification_type)
        frozen = frozen.where(Notification.type == notification_type)
    return union_all(facts, frozen).subquery()


def _frozen_facts(tenant_id: UUID, period: Period) -> Select[date, str, str, str, str | None, int]:
    # Nothing is accepted before it is created: that is what ix_push_notifications_tenant_id_created_at serves.
    counts = func.json_each_text(Notification.frozen_counts).table_valued("key", "value").lateral("counts")
    return (
        select(
            cast(func.timezone("UTC", Notification.accepted_at), Date),
            Notification.type,
            literal(UNKNOWN),
            counts.c.key,
            cast(null(), Text),
            cast(counts.c.value, BigInteger),
        )
        .join(counts, true())
        .where(
            Notification.tenant_id == tenant_id,
            Notification.created_at < period.end,
            Notification.accepted_at >= period.start,
            Notification.accepted_at < period.end,
            Notification.frozen_counts.is_not(None),
        )
    )


def count_subscriptions_by_host(session: Session, tenant_id: UUID) -> list[HostTally]:
    """Count the stored subscriptions, and the active ones among them."""
    statement = (
        select(Subscription.endpoint_host, func.count(), func.count().filter(_IS_ACTIVE))
        .where(Subscription.tenant_id == tenant_id, _IS_STORED)
        .group_by(Subscription.endpoint_host)
    )
    return [HostTally(*row) for row in session.execute(statement)]


def count_subscriptions_by_topic(session: Session, tenant_id: UUID, *, limit: int) -> list[TopicTally]:
    """Count the stored subscriptions of each topic; those with most active ones first, up to `limit`."""
    interests = (
        select(func.unnest(Subscription.topics).label("topic"), _IS_ACTIVE.label("is_active"))
        .where(Subscription.tenant_id == tenant_id, _IS_STORED)
        .subquery()
    )
    active = func.count().filter(interests.c.is_active)
    statement = (
        select(interests.c.topic, func.count(), active, func.count().over())
        .group_by(interests.c.topic)
        .order_by(active.desc(), func.count().desc(), interests.c.topic)
        .limit(limit)
    )
    return [TopicTally(*row) for row in session.execute(statement)]


def count_subscription_events(session: Session, tenant_id: UUID, *, period: Period) -> Sequence[EventTally]:
    """Count what happened in the period twice over: by day, and by host.

    Served by ix_push_subscriptions_tenant_id_created_at, _gone_at and _deleted_at.
    """
    events = union_all(
        _events("new", Subscription.created_at, tenant_id, period),
        _events("gone", Subscription.gone_at, tenant_id, period),
        _events("deleted", Subscription.deleted_at, tenant_id, period),
    ).subquery()
    event, day, host = events.c.event, events.c.day, events.c.endpoint_host
    statement = select(event, day, host, func.count()).group_by(
        func.grouping_sets(tuple_(event, day), tuple_(event, host))
    )
    return [EventTally(*row) for row in session.execute(statement)]


def _events(
    name: str,
    happened_at: InstrumentedAttribute[datetime] | InstrumentedAttribute[datetime | None],
    tenant_id: UUID,
    period: Period,
) -> Select[str, date, str]:
    return select(
        literal(name).label("event"),
        cast(func.timezone("UTC", happened_at), Date).label("day"),
        Subscription.endpoint_host,
    ).where(Subscription.tenant_id == tenant_id, happened_at >= period.start, happened_at < period.end)
