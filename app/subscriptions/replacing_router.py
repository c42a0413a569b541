"""The HTTP face of replacing: the one call on subscriptions that needs no credentials."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from app.models import DEFAULT_TENANT_ID
from app.subscriptions.ownership import Requester
from app.subscriptions.replacing import replace
from app.subscriptions.router import EndpointPolicyDep
from app.subscriptions.schemas import ReplacementIn, SubscriptionOut
from app.tenants.scopes import Scope
from app.web.auth import Caller, CallerKind, PossibleCallerDep, require
from app.web.client_address import rate_limit_address
from app.web.deps import SessionDep
from app.web.problems import problem_responses
from app.web.rate_limit import limited
from app.web.routing import api_router


def count_by_caller_or_address(request: Request, caller: PossibleCallerDep) -> None:
    """Count a request against the limit of subscriptions; without credentials, by its address."""
    counted = caller or Caller(
        DEFAULT_TENANT_ID, CallerKind.ANONYMOUS, None, rate_key=f"address:{rate_limit_address(request)}"
    )
    limited("subscription")(request, counted)


def get_possible_requester(caller: PossibleCallerDep) -> Requester | None:
    if caller is None:
        return None
    require(Scope.MANAGE)(caller)
    return Requester(caller.tenant_id, caller.user_id, is_service=caller.kind is CallerKind.SERVICE)


PossibleRequesterDep = Annotated[Requester | None, Depends(get_possible_requester)]

router = api_router(
    prefix="/subscriptions", tags=["subscriptions"], dependencies=[Depends(count_by_caller_or_address)]
)


@router.post(
    "/{subscription_id}/replace",
    summary="Replace it by a renewed one",
    responses=problem_responses(401, 403, 404, 409, 422, 429),
    openapi_extra={"security": [{}]},  # beside those of the possible caller: none will do
)
def replace_subscription(
    subscription_id: UUID,
    body: ReplacementIn,
    session: SessionDep,
    requester: PossibleRequesterDep,
    policy: EndpointPolicyDep,
) -> SubscriptionOut:
    """Swap the endpoint and the keys, as a service worker must when its browser fires `pushsubscriptionchange`.

    `old_auth` is the proof, so no credentials are needed; those that are sent have to be good. The id and the user
    stay, and the topics unless others are given. Safe to repeat: the same again is answered the same.
    """
    replaced = replace(
        session,
        requester,
        subscription_id,
        body.to_offer(),
        old_auth=body.old_auth,
        enabled=body.wants_enabled,
        policy=policy,
    )
    return SubscriptionOut.model_validate(replaced)
