"""Replacing: a browser renewed its subscription, and the stored one becomes the new one, with its history.

Source: Push API, "pushsubscriptionchange": the event comes to a service worker, which has no token of the site.
"""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.keyring.service import key_by_id
from app.models import Subscription
from app.push.endpoint import EndpointPolicy
from app.subscriptions import repository
from app.subscriptions.made_with import MadeWith, made_with
from app.subscriptions.offer import Offer
from app.subscriptions.ownership import Requester, has_keys, may_replace, may_take_over
from app.subscriptions.service import (
    EndpointTaken,
    SubscriptionNotFound,
    checked_endpoint,
    hash_of,
    holding_of,
    host_of,
    renewed,
)


def replace(
    session: Session,
    requester: Requester | None,
    subscription_id: UUID,
    offer: Offer,
    *,
    old_auth: str,
    enabled: bool | None,
    policy: EndpointPolicy,
) -> Subscription:
    """Put a new endpoint and new keys in the place of those stored, and return the row: id, user and topics stay.

    The proof is `old_auth`, the secret stored until now; `requester` is None without credentials. Saying the same
    again, when a first answer was lost, is answered the same. The new endpoint may be stored already, for the same
    user or with the same keys: then that row is soft-deleted. `enabled` None leaves it as its user wanted it.
    Raises EndpointNotAllowed, UnknownApplicationServerKey, SubscriptionNotFound and EndpointTaken.
    """
    checked = checked_endpoint(offer.endpoint, policy)
    endpoint_hash = hash_of(checked)
    tenant_id = repository.tenant_of(session, subscription_id)
    if tenant_id is None or (requester is not None and requester.tenant_id != tenant_id):
        raise _not_found()
    stored, other = repository.lock_with_endpoint(session, tenant_id, subscription_id, endpoint_hash)
    if stored is None:
        raise _not_found()
    holding, is_same_endpoint = holding_of(stored), stored.endpoint_hash == endpoint_hash
    is_stored_already = is_same_endpoint and has_keys(holding, p256dh=offer.p256dh, auth=offer.auth)
    if not may_replace(holding, requester, old_auth=old_auth, is_stored_already=is_stored_already):
        raise _not_found()
    if other is not None:
        if not may_take_over(holding_of(other), holding, p256dh=offer.p256dh, auth=offer.auth):
            raise EndpointTaken("The new endpoint is stored for somebody else, with other keys.")
        repository.mark_deleted(session, other)
    values: dict[str, Any] = renewed(stored, offer, _key_of(session, stored, offer, is_same_endpoint))
    values["enabled"] = _is_wanted(stored) if enabled is None else enabled
    if not is_same_endpoint:
        values |= {
            "endpoint": checked.endpoint,
            "endpoint_hash": endpoint_hash,
            "endpoint_host": host_of(checked),
            "first_accepted_at": None,  # its push service has never accepted anything for the new one
        }
    return repository.change(session, stored, **values)


def _key_of(session: Session, stored: Subscription, offer: Offer, is_same_endpoint: bool) -> MadeWith:
    if is_same_endpoint or offer.application_server_key is not None:
        return made_with(session, stored.tenant_id, offer.application_server_key, stored)
    # Browsers and pages renew with the options of before, as long as they can.
    before = key_by_id(session, stored.vapid_key_id, hold=True)
    if before.retired_at is None:
        return MadeWith(before.id, is_assumed=True)
    return made_with(session, stored.tenant_id, None)


def _is_wanted(stored: Subscription) -> bool:
    """Tell whether its user wants it: being called gone switched it off, too; what was said since then counts."""
    return stored.enabled or (stored.gone_at is not None and stored.updated_at <= stored.gone_at)


def _not_found() -> SubscriptionNotFound:
    return SubscriptionNotFound("There is no such subscription, or old_auth is not its secret, or it is not yours.")
