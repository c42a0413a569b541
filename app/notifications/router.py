"""The HTTP face of notifications: send, broadcast, cancel, history, one notification and its deliveries."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import unquote
from uuid import UUID

from fastapi import Depends, Path, Query, Request
from fastapi.responses import JSONResponse

from app.db.session import transaction
from app.delivery.inline import InlineLimits
from app.delivery.run import Pipeline
from app.models import DeliveryStatus
from app.models import Notification as NotificationRow
from app.notifications import idempotency, repository, schemas, service
from app.notifications.progress import Progress
from app.notifications.schemas import (
    BroadcastRequest,
    Delivery,
    DeliveryPage,
    History,
    HistoryStatus,
    Notification,
    NotificationSummary,
    SendRequest,
    SendResult,
)
from app.notifications.sent import Replay
from app.web.auth import CallerDep, CallerKind, ReaderDep, SenderDep
from app.web.deps import SessionDep, SessionsDep, SettingsDep
from app.web.pagination import MAX_LIMIT, PageDep
from app.web.problems import RETRY_AFTER, problem_responses
from app.web.rate_limit import limited
from app.web.routing import api_router
from app.web.send_headers import (
    RESPOND_ASYNC,
    GiveUpAtDep,
    IdempotencyKeyDep,
    KeyText,
    PrefersAsyncDep,
    read_key,
)
from app.web.text import PlainText

router = api_router(prefix="/notifications", tags=["notifications"])


def get_pipeline(request: Request) -> Pipeline:
    pipeline: Pipeline = request.app.state.pipeline
    return pipeline


def count_sends(request: Request, caller: CallerDep, sessions: SessionsDep, key: IdempotencyKeyDep) -> None:
    """Count a send against the rate limit. Asking again with a key that stored something is not a send."""
    if key is not None and caller.kind is CallerKind.SERVICE:
        with transaction(sessions) as session:
            if idempotency.is_known(session, idempotency.Key(caller.tenant_id, key)):
                return
    limited("notification")(request, caller)


PipelineDep = Annotated[Pipeline, Depends(get_pipeline)]
NotificationId = Annotated[UUID, Path(description="As the answer to send or broadcast gave it.")]
StatusFilter = Annotated[
    HistoryStatus | None,
    Query(description="A notification's state, or a delivery's status: then those with such a delivery."),
]


@dataclass(frozen=True)
class Intake:
    """What accepting a notification takes: all that is not in its body."""

    pipeline: Pipeline
    tenant_id: UUID
    default_ttl_seconds: int
    limits: InlineLimits
    options: service.SendOptions

    def accept(self, request: SendRequest | BroadcastRequest) -> JSONResponse:
        sent = service.send(
            self.pipeline,
            request,
            tenant_id=self.tenant_id,
            default_ttl_seconds=self.default_ttl_seconds,
            limits=self.limits,
            options=self.options,
        )
        headers = {"Idempotency-Replayed": "true"} if isinstance(sent, Replay) else {}
        if sent.answer.status_code == 202:
            headers["Location"] = sent.answer.body["status_url"]
            if self.options.is_async:
                headers["Preference-Applied"] = RESPOND_ASYNC
        return JSONResponse(sent.answer.body, sent.answer.status_code, headers)


def get_intake(
    caller: SenderDep,
    pipeline: PipelineDep,
    settings: SettingsDep,
    key: IdempotencyKeyDep,
    give_up_at: GiveUpAtDep,
    is_async: PrefersAsyncDep,
) -> Intake:
    return Intake(
        pipeline,
        caller.tenant_id,
        settings.push_default_ttl_seconds,
        InlineLimits(settings.inline_max_recipients, settings.inline_timeout_seconds),
        service.SendOptions(key, give_up_at, is_async),
    )


IntakeDep = Annotated[Intake, Depends(get_intake)]

_COUNTS_SENDS = [Depends(count_sends)]
_REPLAYED = {
    "Idempotency-Replayed": {
        "schema": {"type": "string", "enum": ["true"]},
        "description": "This is the answer to an earlier request with the same Idempotency-Key.",
    }
}
_SEND_ANSWERS = {
    200: {"model": SendResult, "description": "Everybody was tried: the results.", "headers": _REPLAYED},
    202: {
        "model": SendResult,
        "description": "Accepted: the workers go on with it. Follow `Location` for its progress.",
        "headers": {
            "Location": {"schema": {"type": "string"}, "description": "Where its counts are."},
            "Preference-Applied": {"schema": {"type": "string"}, "description": "`respond-async`, if it was."},
            **_REPLAYED,
        },
    },
    **problem_responses(400, 401, 403, 412, 413, 415, 422, 429, 503),
    409: {**problem_responses(409)[409], "headers": RETRY_AFTER},
}
_READ_ANSWERS = problem_responses(401, 403, 404, 422, 503)


@router.post("/send/", summary="Send to some", dependencies=_COUNTS_SENDS, responses=_SEND_ANSWERS)
def send_notification(request: SendRequest, intake: IntakeDep) -> JSONResponse:
    """Send to everybody who matches a topic, a user id or a subscription id, once each.

    A small audience is served before the answer (200, with the results). A large one, or one that takes too
    long, is answered with 202 while the workers go on; so is a notification for later.
    """
    return intake.accept(request)


@router.post("/broadcast/", summary="Send to all", dependencies=_COUNTS_SENDS, responses=_SEND_ANSWERS)
def broadcast_notification(request: BroadcastRequest, intake: IntakeDep) -> JSONResponse:
    """Send to every active subscriber. Answers as send does."""
    return intake.accept(request)


@router.get("/history/", summary="Notifications so far", responses=problem_responses(401, 403, 422, 503))
def list_history(
    session: SessionDep,
    caller: ReaderDep,
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


@router.get("/by-key/{key:path}", summary="One notification, by its key", responses=_READ_ANSWERS)
def get_notification_by_key(
    key: Annotated[
        KeyText, Path(description="The Idempotency-Key as it was sent, percent-encoded; in quotes or without.")
    ],
    request: Request,
    session: SessionDep,
    caller: ReaderDep,
) -> Notification:
    """Return the notification that a send with this Idempotency-Key stored, also while that still runs.

    Once the send's `X-Give-Up-At` is past, a 404 is final: it was not begun, and never will be.
    """
    notification_id = service.id_by_key(session, caller.tenant_id, _key_in_path(request, key))
    return _in_full(service.progress(session, caller.tenant_id, notification_id))


@router.get("/{notification_id}/", summary="One notification", responses=_READ_ANSWERS)
def get_notification(notification_id: NotificationId, session: SessionDep, caller: ReaderDep) -> Notification:
    """Return a notification with the counts of its deliveries as they are now, and how long it may still take."""
    return _in_full(service.progress(session, caller.tenant_id, notification_id))


@router.post(
    "/{notification_id}/cancel",
    summary="Cancel it",
    responses=problem_responses(401, 403, 404, 409, 422, 503),
)
def cancel_notification(
    notification_id: NotificationId, session: SessionDep, pipeline: PipelineDep, caller: SenderDep
) -> Notification:
    """Stop a notification that is scheduled or not yet sent to all, at once and however large it is.

    Nothing further is sent; what is in flight is recorded as it comes. The others become `failed`, reason
    `cancelled`, within moments: `finished_at` says when. Cancelling again is answered alike.
    """
    service.cancel(pipeline, caller.tenant_id, notification_id)
    # Counted in a transaction of its own: nobody who sends is to wait for that.
    return _in_full(service.progress(session, caller.tenant_id, notification_id))


@router.get("/{notification_id}/deliveries/", summary="Its deliveries", responses=_READ_ANSWERS)
def list_deliveries(
    notification_id: NotificationId,
    session: SessionDep,
    caller: ReaderDep,
    cursor: Annotated[UUID | None, Query(description="The `next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = MAX_LIMIT,
    status: Annotated[DeliveryStatus | None, Query(description="Only with this status.")] = None,
) -> DeliveryPage:
    """Return the delivery log of a notification, a row for each recipient."""
    rows, next_cursor = service.deliveries_page(
        session, caller.tenant_id, notification_id, after=cursor, limit=limit, status=status
    )
    return DeliveryPage(items=[Delivery.model_validate(row) for row in rows], next_cursor=next_cursor)


def _key_in_path(request: Request, decoded: str) -> str:
    """Return the key as it was encoded: a slash at the end is the path's, an encoded one the key's.

    Raises InvalidIdempotencyKey.
    """
    raw_path: bytes = request.scope.get("raw_path") or b""
    _, _, encoded = raw_path.decode("latin-1").partition("/by-key/")
    return read_key(unquote(encoded.removesuffix("/")) if encoded else decoded.removesuffix("/"))


def _in_full(progress: Progress) -> Notification:
    row = progress.notification
    return Notification(
        **dict(_summary(row, progress.counts)),
        rate_per_second=progress.rate_per_second,
        seconds_left=progress.seconds_left,
        user_ids=row.target_user_ids,
        subscription_ids=row.target_subscription_ids,
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
