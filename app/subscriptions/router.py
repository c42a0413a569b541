"""The HTTP face of subscriptions. Who may do what, ownership.py says."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Request, Response, status

from app.push.endpoint import EndpointPolicy
from app.subscriptions import service
from app.subscriptions.ownership import Requester
from app.subscriptions.schemas import SubscribedOut, SubscriptionChange, SubscriptionIn, SubscriptionOut
from app.tenants.scopes import Scope
from app.web.auth import CallerDep, CallerKind, require
from app.web.deps import SessionDep
from app.web.problems import problem_responses
from app.web.rate_limit import limited
from app.web.routing import api_router

router = api_router(
    prefix="/subscriptions", tags=["subscriptions"], dependencies=[Depends(limited("subscription"))]
)

_READS, _MANAGES = [Depends(require(Scope.READ))], [Depends(require(Scope.MANAGE))]
_LOCATION = {"Location": {"description": "Where it is from now on.", "schema": {"type": "string"}}}


def get_endpoint_policy(request: Request) -> EndpointPolicy:
    policy: EndpointPolicy = request.app.state.endpoint_policy
    return policy


def get_requester(
    caller: CallerDep,
    shown_auth: Annotated[
        str | None,
        Header(
            alias="X-Subscription-Auth",
            description="The auth secret of a subscription without a user: who shows it is its owner.",
        ),
    ] = None,
) -> Requester:
    return Requester(
        tenant_id=caller.tenant_id,
        user_id=caller.user_id,
        is_service=caller.kind is CallerKind.SERVICE,
        shown_auth=shown_auth,
    )


EndpointPolicyDep = Annotated[EndpointPolicy, Depends(get_endpoint_policy)]
RequesterDep = Annotated[Requester, Depends(get_requester)]


@router.post(
    "/",
    status_code=status.HTTP_201_CREATED,
    summary="Subscribe a browser",
    dependencies=_MANAGES,
    responses={
        200: {"model": SubscribedOut, "description": "It was stored already, and is up to date now."},
        201: {"description": "Stored.", "headers": _LOCATION},
        **problem_responses(409, 422, 429),
    },
)
def subscribe(
    body: SubscriptionIn,
    response: Response,
    session: SessionDep,
    requester: RequesterDep,
    policy: EndpointPolicyDep,
) -> SubscribedOut:
    """Store what `PushSubscription.toJSON()` gave, or update what is stored of it. Safe to repeat.

    The subscription belongs to the user of the token. An endpoint stored for another user changes hands only when
    the keys are the same (a shared computer); with other keys the answer is 409, unless it is the caller's own.
    """
    subscribed = service.subscribe(session, requester, body.to_offer(), policy=policy)
    if subscribed.is_new:
        response.headers["Location"] = f"/subscriptions/{subscribed.subscription.id}/"
    else:
        response.status_code = status.HTTP_200_OK
    stored = SubscriptionOut.model_validate(subscribed.subscription)
    return SubscribedOut(**stored.model_dump(), created=subscribed.is_new)


@router.get(
    "/{subscription_id}/",
    summary="One subscription",
    dependencies=_READS,
    responses=problem_responses(404, 422, 429),
)
def get_subscription(
    subscription_id: UUID, caller: CallerDep, session: SessionDep, requester: RequesterDep
) -> SubscriptionOut:
    """Return a subscription of the caller's. One of somebody else looks like none."""
    found = SubscriptionOut.model_validate(service.get(session, requester, subscription_id))
    may_only_read = caller.kind is CallerKind.SERVICE and Scope.MANAGE not in caller.scopes
    return found.model_copy(update={"auth": None}) if may_only_read else found


@router.put(
    "/{subscription_id}/",
    summary="Change topics, or switch on and off",
    dependencies=_MANAGES,
    responses=problem_responses(404, 409, 422, 429),
)
def change_subscription(
    subscription_id: UUID, body: SubscriptionChange, session: SessionDep, requester: RequesterDep
) -> SubscriptionOut:
    """Replace the topics, enable or disable, or both. One that is gone cannot be enabled: subscribe again."""
    changed = service.change(session, requester, subscription_id, topics=body.topics, enabled=body.enabled)
    return SubscriptionOut.model_validate(changed)


@router.delete(
    "/{subscription_id}/",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Unsubscribe",
    dependencies=_MANAGES,
    responses=problem_responses(404, 422, 429),
)
def unsubscribe(subscription_id: UUID, session: SessionDep, requester: RequesterDep) -> None:
    """Delete a subscription: nothing more is sent to it. The statistics keep counting it."""
    service.unsubscribe(session, requester, subscription_id)
