"""The application server key that browsers subscribe with. Public: it is no secret, and needs no login."""

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field
from sqlalchemy import select

from app.errors import NotFound
from app.keyring import service
from app.models import Tenant
from app.web.deps import SessionDep
from app.web.problems import problem_responses
from app.web.routing import api_router
from app.web.text import PlainText

router = api_router(prefix="/vapid", tags=["vapid"])


class PublicKey(BaseModel):
    public_key: str = Field(
        description="The applicationServerKey for PushManager.subscribe(), base64url without padding (RFC 8292)."
    )


@router.get("/public-key", summary="The application server key", responses=problem_responses(404, 422, 503))
def get_public_key(
    session: SessionDep,
    tenant: Annotated[PlainText, Query(max_length=100, description="The tenant's short name.")] = "default",
) -> PublicKey:
    """Return the key that new subscriptions are to be made with."""
    tenant_id = session.scalars(select(Tenant.id).where(Tenant.slug == tenant)).one_or_none()
    if tenant_id is None:
        raise NotFound("There is no such tenant.")
    return PublicKey(public_key=service.active_key(session, tenant_id).public_key)
