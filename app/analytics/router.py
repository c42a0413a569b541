"""The analytics endpoints. They count at one moment and may answer with what was counted 10 seconds ago."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Query, Request
from redis import Redis

from app.analytics import service
from app.analytics.cache import cached
from app.analytics.params import DateRange, DeliveryFilter
from app.analytics.period import choose_period
from app.analytics.schemas import DeliveryStatistics, SubscriptionStatistics
from app.web.auth import ReaderDep
from app.web.deps import SessionDep
from app.web.problems import problem_responses
from app.web.rate_limit import limited
from app.web.routing import api_router

router = api_router(
    prefix="/analytics",
    tags=["analytics"],
    dependencies=[Depends(limited("analytics"))],
    responses=problem_responses(401, 403, 422, 429, 503),
)


def get_redis(request: Request) -> Redis | None:
    redis: Redis | None = request.app.state.redis
    return redis


RedisDep = Annotated[Redis | None, Depends(get_redis)]


@router.get("/subscriptions/", summary="Subscription statistics")
def read_subscription_statistics(
    asked: Annotated[DateRange, Query()], caller: ReaderDep, session: SessionDep, redis: RedisDep
) -> SubscriptionStatistics:
    """The audience as it is now, and who subscribed, went or was removed in the range."""
    now = datetime.now(UTC)
    period = choose_period(asked.date_from, asked.date_to, now=now)
    return cached(
        redis,
        f"push:analytics:subscriptions:{caller.tenant_id}:{period.key}",
        SubscriptionStatistics,
        compute=lambda: service.subscription_statistics(session, caller.tenant_id, period=period, now=now),
    )


@router.get("/deliveries/", summary="Delivery statistics and success rates")
def read_delivery_statistics(
    asked: Annotated[DeliveryFilter, Query()], caller: ReaderDep, session: SessionDep, redis: RedisDep
) -> DeliveryStatistics:
    """What became of the deliveries whose notification was sent in the range: counts, reasons and rates."""
    now = datetime.now(UTC)
    period = choose_period(asked.date_from, asked.date_to, now=now)
    return cached(
        redis,
        f"push:analytics:deliveries:{caller.tenant_id}:{period.key}:{asked.type or ''}",
        DeliveryStatistics,
        compute=lambda: service.delivery_statistics(
            session, caller.tenant_id, period=period, notification_type=asked.type, now=now
        ),
    )
