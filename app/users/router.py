"""The HTTP face of what is kept of a person. For services that may manage: a person asks them, not us."""

from typing import Annotated

from fastapi import Depends, Path, Query

from app.users import service
from app.users.cursor import Cursor
from app.users.schemas import Erased, Export, KeptDelivery, KeptNotification, KeptReceipt, KeptSubscription
from app.web.auth import ManagerDep
from app.web.deps import SessionDep, SessionsDep
from app.web.problems import problem_responses
from app.web.routing import EncodedRoute, api_router
from app.web.text import PlainText
from app.web.tokens import MAX_USER_ID_LENGTH

MAX_CURSOR_CHARACTERS = 100

router = api_router(prefix="/users", tags=["users"], route_class=EncodedRoute)

UserId = Annotated[
    PlainText,
    Path(
        min_length=1,
        max_length=MAX_USER_ID_LENGTH,
        description="As it stands in tokens and targets, percent-encoded: a slash is %2F.",
    ),
]


def get_cursor(
    cursor: Annotated[
        str | None,
        Query(max_length=MAX_CURSOR_CHARACTERS, description="The `next_cursor` of the page before."),
    ] = None,
) -> Cursor | None:
    return None if cursor is None else Cursor.read(cursor)


CursorDep = Annotated[Cursor | None, Depends(get_cursor)]


@router.delete("/{user_id}/", summary="Erase a person", responses=problem_responses(401, 403, 422, 503))
def erase_user(caller: ManagerDep, user_id: UserId, sessions: SessionsDep) -> Erased:
    """Delete for good what is kept of a user, and say how much that was; nothing, when asked again.

    Deliveries stay for the counts, without a link; pending ones have failed, reason `erased`. A message that a push
    service has accepted cannot be called back. Notifications that were for this user only are for nobody then.
    """
    done = service.erase(sessions, caller.tenant_id, user_id)
    return Erased.model_validate(done, from_attributes=True)


@router.get(
    "/{user_id}/export/",
    summary="What is kept of a person",
    responses=problem_responses(401, 403, 422, 503),
)
def export_user(caller: ManagerDep, user_id: UserId, session: SessionDep, cursor: CursorDep) -> Export:
    """Return all of it but the `auth` secrets: with one, whoever reads the export could replace a subscription."""
    kept = service.export(session, caller.tenant_id, user_id, after=cursor)
    return Export(
        user_id=user_id,
        subscriptions=[KeptSubscription.model_validate(row) for row in kept.subscriptions],
        notifications=[KeptNotification.model_validate(row) for row in kept.notifications],
        deliveries=[KeptDelivery.model_validate(row) for row in kept.deliveries],
        receipts=[KeptReceipt.model_validate(row) for row in kept.receipts],
        next_cursor=str(kept.next_cursor) if kept.next_cursor else None,
    )
