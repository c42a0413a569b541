"""The HTTP face of notifications: send, broadcast, history, one notification and its deliveries."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Query, Request, Response

from app.delivery.inline import InlineLimits
from app.delivery.run import Pipeline
from app.models import DeliveryStatus, NotificationState
from app.models import Notification as NotificationRow
from app.notifications import repository, schemas, service
from app.notifications.schemas import (
    BroadcastRequest,
    Delivery,
    DeliveryPage,
    History,
    Notification,
    NotificationSummary,
    SendRequest,
    SendResult,
)
from app.settings import Settings
from app.web.auth import ServiceDep
from app.web.deps import SessionDep, SettingsDep
from app.web.pagination import MAX_LIMIT, PageDep
from app.web.problems import problem_responses
from app.web.rate_limit import limited
from app.web.routing import api_router
from app.web.text import PlainText

router = api_router(prefix="/notifications", tags=["notifications"])


def get_pipeline(request: Request) -> Pipeline:
    pipeline: Pipeline = request.app.state.pipeline
    return pipeline


PipelineDep = Annotated[Pipeline, Depends(get_pipeline)]
NotificationId = Annotated[UUID, Path(description="As the answer to send or broadcast gave it.")]
StatusFilter = Annotated[
    NotificationState | DeliveryStatus | None,
    Query(description="A notification's state, or a delivery's status: then those with such a delivery."),
]

_COUNTS_SENDS = [Depends(limited("notification"))]
_SEND_ANSWERS = {
    202: {
        "model": SendResult,
        "description": "Accepted: the workers go on with it. Follow `Location` for its progress.",
        "headers": {"Location": {"schema": {"type": "string"}, "description": "Where its counts are."}},
    },
    **problem_responses(400, 401, 403, 413, 415, 422, 429, 503),
}
_READ_ANSWERS = problem_responses(401, 403, 404, 422, 503)


@router.post("/send/", summary="Send to some", dependencies=_COUNTS_SENDS, responses=_SEND_ANSWERS)
def send_notification(
    request: SendRequest, response: Response, caller: ServiceDep, pipeline: PipelineDep, settings: SettingsDep
) -> SendResult:
    """Send to everybody who matches a topic, a user id or a subscription id, once each.

    A small audience is served before the answer (200, with the results). A large one, or one that takes too
    long, is answered with 202 while the workers go on.
    """
    return _send(request, response, tenant_id=caller.tenant_id, pipeline=pipeline, settings=settings)


@router.post("/broadcast/", summary="Send to all", dependencies=_COUNTS_SENDS, responses=_SEND_ANSWERS)
def broadcast_notification(
    request: BroadcastRequest, response: Response, caller: ServiceDep, pipeline: PipelineDep, settings: SettingsDep
) -> SendResult:
    """Send to every active subscriber. Answers as send does."""
    return _send(request, response, tenant_id=caller.tenant_id, pipeline=pipeline, settings=settings)


@router.get("/history/", summary="Notifications so far", responses=problem_responses(401, 403, 422, 503))
def list_history(
    session: SessionDep,
    caller: ServiceDep,
    page: PageDep,
    type: Annotated[PlainText | None, Query(max_length=64, description="Only of this type.")] = None,
    status: StatusFilter = None,
) -> History:
    """Return notifications, the newest first, with the counts of their deliveries.

    Whom each named by id is not listed here: a single notification tells.
    """
    rows, total = repository.history(
        session, caller.tenant_id, offset=page.offset, limit=page.limit, type_=type, status=status
    )
    counts = repository.counts_of(session, rows)
    return History(
        items=[_summary(row, counts[row.id]) for row in rows], total=total, page=page.page, limit=page.limit
    )


@router.get("/{notification_id}/", summary="One notification", responses=_READ_ANSWERS)
def get_notification(notification_id: NotificationId, session: SessionDep, caller: ServiceDep) -> Notification:
    """Return a notification with the counts of its deliveries as they are now."""
    found = service.look_up(session, caller.tenant_id, notification_id)
    row = found.notification
    return Notification(
        **dict(_summary(row, found.counts)),
        user_ids=row.target_user_ids,
        subscription_ids=row.target_subscription_ids,
    )


@router.get("/{notification_id}/deliveries/", summary="Its deliveries", responses=_READ_ANSWERS)
def list_deliveries(
    notification_id: NotificationId,
    session: SessionDep,
    caller: ServiceDep,
    cursor: Annotated[UUID | None, Query(description="The `next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = MAX_LIMIT,
    status: Annotated[DeliveryStatus | None, Query(description="Only with this status.")] = None,
) -> DeliveryPage:
    """Return the delivery log of a notification, a row for each recipient."""
    rows, next_cursor = service.deliveries_page(
        session, caller.tenant_id, notification_id, after=cursor, limit=limit, status=status
    )
    return DeliveryPage(items=[Delivery.model_validate(row) for row in rows], next_cursor=next_cursor)


def _send(
    request: SendRequest | BroadcastRequest,
    response: Response,
    *,
    tenant_id: UUID,
    pipeline: Pipeline,
    settings: Settings,
) -> SendResult:
    sent = service.send(
        pipeline,
        request,
        tenant_id=tenant_id,
        default_ttl_seconds=settings.push_default_ttl_seconds,
        limits=InlineLimits(settings.inline_max_recipients, settings.inline_timeout_seconds),
    )
    status_url = f"/notifications/{sent.notification.id}/"
    if not sent.is_complete:
        response.status_code = 202
        response.headers["Location"] = status_url
    return SendResult(
        notification_id=sent.notification.id,
        status=sent.notification.state,
        targeted=sent.notification.targeted,
        status_url=status_url,
        deliveries=sent.deliveries and [Delivery.model_validate(row) for row in sent.deliveries],
        **sent.counts,
    )


def _summary(row: NotificationRow, counts: repository.StatusCounts) -> NotificationSummary:
    content = {name: getattr(row, name) for name in schemas.Content.model_fields if hasattr(row, name)}
    return NotificationSummary(
        **content,
        **counts,
        id=row.id,
        created_at=row.created_at,
        status=row.state,
        is_broadcast=row.is_broadcast,
        topics=row.target_topics,
        ttl=row.ttl_seconds,
        targeted=row.targeted,
        finished_at=row.finished_at,
    )
