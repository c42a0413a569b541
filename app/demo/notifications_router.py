"""What the demo page does with notifications: send to its own user, and see what became of them. Development only.

An API key is for services; a page of a real site asks its own server to send.
"""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from fastapi import Depends
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from app.delivery.inline import InlineLimits
from app.demo.queries import Story, newest_stories
from app.errors import Forbidden
from app.models import DeliveryStatus, Receipt
from app.notifications import service
from app.notifications.router import PipelineDep
from app.notifications.schemas import Content, SendRequest
from app.web.auth import Caller, CallerDep
from app.web.deps import SessionDep, SettingsDep
from app.web.rate_limit import limited
from app.web.routing import api_router

MOST_SHOWN = 20

router = api_router(prefix="/demo", include_in_schema=False)


class UserNeeded(Forbidden):
    code = "user-needed"
    title = "Only for a user of the demo page"


class Told(BaseModel):
    """A notification and what became of it in this user's browser: null where it has not happened, or not yet."""

    id: UUID
    title: str
    body: str
    accepted_at: datetime
    scheduled_at: datetime | None
    status: DeliveryStatus | None
    reason: str | None
    response_code: int | None
    sent_at: datetime | None
    displayed_at: datetime | None
    clicked_at: datetime | None
    action: str | None
    closed_at: datetime | None

    @classmethod
    def of(cls, story: Story) -> Self:
        notification, delivery = story.notification, story.delivery
        clicked = story.receipts.get("clicked")
        return cls(
            id=notification.id,
            title=notification.title,
            body=notification.body,
            accepted_at=notification.created_at,
            scheduled_at=notification.scheduled_at,
            status=delivery and delivery.status,
            reason=delivery and delivery.reason,
            response_code=delivery and delivery.response_code,
            sent_at=delivery and delivery.sent_at,
            displayed_at=_time_of(story.receipts.get("displayed")),
            clicked_at=_time_of(clicked),
            action=clicked and clicked.action,
            closed_at=_time_of(story.receipts.get("closed")),
        )


class ToldAll(BaseModel):
    items: list[Told]


def get_user(caller: CallerDep) -> Caller:
    """Return the caller if it is a user. Raises UserNeeded."""
    if caller.user_id is None:
        raise UserNeeded("Send a token that POST /demo/token gave.")
    return caller


UserDep = Annotated[Caller, Depends(get_user)]


@router.post("/send", dependencies=[Depends(limited("notification"))])
def send_to_oneself(content: Content, user: UserDep, pipeline: PipelineDep, settings: SettingsDep) -> JSONResponse:
    """Send to the caller's own browsers, and answer as POST /notifications/send/ does."""
    sent = service.send(
        pipeline,
        SendRequest(**content.model_dump(exclude_unset=True), user_ids=[user.user_id]),
        tenant_id=user.tenant_id,
        default_ttl_seconds=settings.push_default_ttl_seconds,
        limits=InlineLimits(settings.inline_max_recipients, settings.inline_timeout_seconds),
    )
    return JSONResponse(sent.answer.body, sent.answer.status_code)


@router.get("/notifications")
def list_own(user: UserDep, session: SessionDep) -> ToldAll:
    """Return what was sent to the caller's own browsers, the newest first, however it was addressed."""
    assert user.user_id is not None
    stories = newest_stories(session, user.tenant_id, user.user_id, limit=MOST_SHOWN)
    return ToldAll(items=[Told.of(story) for story in stories])


def _time_of(receipt: Receipt | None) -> datetime | None:
    return receipt.occurred_at if receipt is not None else None
