"""The progress of a notification as Server-Sent Events."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Request

from app.db.session import transaction
from app.notifications import service
from app.notifications.events import ProgressFeed
from app.notifications.schemas import Progress
from app.web import event_stream
from app.web.auth import ReaderDep
from app.web.deps import SessionsDep
from app.web.event_stream import EventStream
from app.web.problems import problem_responses
from app.web.routing import api_router

RETRY_MS = 2_000

router = api_router(prefix="/notifications", tags=["notifications"])


def get_first_progress(
    notification_id: Annotated[UUID, Path(description="As the answer to send or broadcast gave it.")],
    sessions: SessionsDep,
    caller: ReaderDep,
) -> Progress:
    # In a transaction of its own: one that waits for the request to go on would keep its connection from others.
    with transaction(sessions) as session:
        return service.progress(session, caller.tenant_id, notification_id).shown()


async def get_feed(request: Request) -> ProgressFeed:
    feed: ProgressFeed = request.app.state.progress_feed
    return feed


FirstProgressDep = Annotated[Progress, Depends(get_first_progress)]
FeedDep = Annotated[ProgressFeed, Depends(get_feed)]


@router.get(
    "/{notification_id}/events",
    summary="Its progress, as it happens",
    status_code=200,
    response_model=Progress,  # of each event's data
    response_class=EventStream,
    responses={
        200: event_stream.described(
            "Server-Sent Events. `progress` at once, and whenever it has changed, once a second at most: how far"
            " the notification has come. `end`, with the same, when it is finished. A comment after 15 s without."
            " No `end`: the server was stopped; connect again.",
            names=("progress", "end"),
            data=Progress,
        ),
        **problem_responses(401, 403, 404, 422, 503),
    },
)
async def listen_to_notification(first: FirstProgressDep, feed: FeedDep) -> EventStream:
    """Tell how far a notification has come until it is finished, and then end.

    Whoever connects again is told the present state first.
    """
    feed.refuse_if_full()
    return EventStream(_events(feed.listen(first)))


async def _events(states: AsyncGenerator[Progress | None]) -> AsyncGenerator[bytes]:
    retry_ms: int | None = RETRY_MS
    async with aclosing(states):
        async for state in states:
            if state is None:
                yield event_stream.KEEP_ALIVE
                continue
            told = state.model_dump_json()
            yield event_stream.event("progress", told, retry_ms=retry_ms)
            if state.finished_at is not None:
                yield event_stream.event("end", told)
            retry_ms = None
