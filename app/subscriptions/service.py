"""Subscribing, changing and leaving. Whose subscription it is, ownership.py decides.

Every function is inside the caller's transaction: nothing is committed here, and nothing posted.
"""

import hashlib
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.errors import Conflict, Invalid, NotFound
from app.ids import new_id
from app.models import Subscription
from app.push import endpoint as push_endpoint
from app.push.endpoint import CheckedEndpoint, EndpointPolicy
from app.subscriptions import repository
from app.subscriptions.made_with import MadeWith, made_with
from app.subscriptions.offer import Offer
from app.subscriptions.ownership import Claim, Holding, Requester, claim_to, may_manage

_HTTPS_PORT = 443


class EndpointNotAllowed(Invalid):
    """The endpoint is not an https URL of a push service we know."""

    code = "endpoint-not-allowed"
    title = "Endpoint not allowed"


class EndpointTaken(Conflict):
    """The endpoint is stored with other keys, and not for this caller."""

    code = "endpoint-taken"
    title = "Endpoint already subscribed"


class SubscriptionGone(Conflict):
    """Its push service said 404 or 410: only a new subscription helps."""

    code = "subscription-gone"
    title = "Subscription gone"


class SubscriptionNotFound(NotFound):
    """There is none, or it is not the caller's: the two look the same."""

    code = "subscription-not-found"
    title = "Subscription not found"


@dataclass(frozen=True, slots=True)
class Subscribed:
    subscription: Subscription
    is_new: bool


def subscribe(session: Session, requester: Requester, offer: Offer, *, policy: EndpointPolicy) -> Subscribed:
    """Store what a browser gave, or update what is stored of it. Safe to repeat, also at the same moment.

    A repeated subscription is a living one: it is enabled, and marks of being gone or refused are cleared.
    Raises EndpointNotAllowed, UnknownApplicationServerKey, and EndpointTaken by ownership.py's table.
    """
    checked = checked_endpoint(offer.endpoint, policy)
    endpoint_hash = hash_of(checked)
    stored = repository.lock_endpoint(session, requester.tenant_id, endpoint_hash)
    key = made_with(session, requester.tenant_id, offer.application_server_key, stored)
    if stored is not None:
        claim = claim_to(holding_of(stored), requester, p256dh=offer.p256dh, auth=offer.auth)
        if claim is Claim.REFUSE:
            raise EndpointTaken(
                "This endpoint is stored with other keys. Unsubscribe in the browser and subscribe again, or show"
                " the stored auth secret in X-Subscription-Auth if the subscription has no user."
            )
        if claim is Claim.UPDATE:
            user_id = stored.user_id if requester.is_service else requester.user_id
            changed = repository.change(session, stored, user_id=user_id, **renewed(stored, offer, key))
            return Subscribed(changed, is_new=False)
        repository.mark_deleted(session, stored)
    subscription = repository.add(
        session,
        id=new_id(),
        tenant_id=requester.tenant_id,
        user_id=requester.user_id,
        endpoint=checked.endpoint,
        endpoint_hash=endpoint_hash,
        endpoint_host=host_of(checked),
        p256dh=offer.p256dh,
        auth=offer.auth,
        vapid_key_id=key.key_id,
        key_is_assumed=key.is_assumed,
        topics=offer.topics or [],
        enabled=offer.enabled,
        expires_at=offer.expires_at,
    )
    return Subscribed(subscription, is_new=True)


def get(session: Session, requester: Requester, subscription_id: UUID) -> Subscription:
    """Return a subscription of the requester's. Raises SubscriptionNotFound."""
    return _find(session, requester, subscription_id, lock=False)


def change(
    session: Session,
    requester: Requester,
    subscription_id: UUID,
    *,
    topics: list[str] | None = None,
    enabled: bool | None = None,
) -> Subscription:
    """Replace the topics, switch it on or off, or both. Raises SubscriptionNotFound, SubscriptionGone."""
    subscription = _find(session, requester, subscription_id, lock=True)
    if enabled and subscription.gone_at is not None:
        raise SubscriptionGone(
            "The push service no longer knows this subscription. Subscribe again in the browser."
        )
    given: dict[str, Any] = {"topics": topics, "enabled": enabled}
    if enabled is None and subscription.gone_at is not None:
        # A later one would say that its user switched it off: see delivery/quarantine.py.
        given["updated_at"] = subscription.updated_at
    return repository.change(
        session, subscription, **{name: value for name, value in given.items() if value is not None}
    )


def unsubscribe(session: Session, requester: Requester, subscription_id: UUID) -> None:
    """Soft-delete a subscription of the requester's. Raises SubscriptionNotFound, also the second time."""
    repository.mark_deleted(session, _find(session, requester, subscription_id, lock=True))


def hash_of(checked: CheckedEndpoint) -> bytes:
    """Return what an endpoint is found by, however it was spelt."""
    return hashlib.sha256(checked.identity.encode()).digest()


def host_of(checked: CheckedEndpoint) -> str:
    """Return the push service's name in tables and metrics: the host, with its port when that is not 443."""
    host = f"[{checked.host}]" if ":" in checked.host else checked.host
    return host if checked.port == _HTTPS_PORT else f"{host}:{checked.port}"


def renewed(stored: Subscription, offer: Offer, key: MadeWith) -> dict[str, Any]:
    """Return what a living subscription is updated with: what is offered, and no mark of being gone or refused."""
    values: dict[str, Any] = {
        "p256dh": offer.p256dh,
        "auth": offer.auth,
        "vapid_key_id": key.key_id,
        "key_is_assumed": key.is_assumed,
        "enabled": offer.enabled,
        "expires_at": offer.expires_at,
        "gone_at": None,
        "key_mismatch_at": None,
        "quarantined_at": None,
        "quarantine_id": None,
        "failure_count": 0,
        "last_failure_at": None,
        "last_failure_reason": None,
    }
    if offer.topics is not None:
        values["topics"] = offer.topics
    if key.key_id != stored.vapid_key_id:
        # Its push service never accepted it under this key: it must not count as established there.
        values["first_accepted_at"] = None
    return values


def _find(session: Session, requester: Requester, subscription_id: UUID, *, lock: bool) -> Subscription:
    subscription = repository.find(session, requester.tenant_id, subscription_id, lock=lock)
    if subscription is None or not may_manage(holding_of(subscription), requester):
        raise SubscriptionNotFound(
            "There is no such subscription, or it is not yours. One without a user is reached with its auth secret"
            " in X-Subscription-Auth."
        )
    return subscription


def holding_of(stored: Subscription) -> Holding:
    return Holding(stored.user_id, stored.p256dh, stored.auth)


def checked_endpoint(endpoint: str, policy: EndpointPolicy) -> CheckedEndpoint:
    try:
        return policy.check(endpoint)
    except push_endpoint.EndpointNotAllowed as error:
        raise EndpointNotAllowed(str(error)) from None
