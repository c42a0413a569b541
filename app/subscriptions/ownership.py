"""Whose subscription is it: pure rules, no database.

A subscription belongs to the user of the token it was made with. One without a user belongs to whoever shows its
`auth` secret. A service (API key) speaks for the tenant, so it reaches every subscription but becomes no owner.

What `POST /subscriptions/` does about an endpoint that is already stored:

    stored owner | caller      | same keys          | other keys, secret shown | other keys
    -------------+-------------+--------------------+--------------------------+--------------
    user A       | user A      | update             | update, new keys         | update, new keys
    user A       | user B      | hand over to B     | refuse                   | refuse
    user A       | no user     | hand over to none  | refuse                   | refuse
    user A       | service     | update, stays A's  | update, stays A's        | update, stays A's
    no user      | user B      | update, becomes B's| update, becomes B's      | refuse
    no user      | no user     | update             | update, new keys         | refuse
    no user      | service     | update             | update, new keys         | update, new keys

*Same keys* is proof of possession: p256dh and auth both match. *Secret shown*: the stored auth comes in the body
or in `X-Subscription-Auth`. To hand over is to soft-delete the old row and make a new one, so that a shared
computer mixes up neither topics nor history. Who subscribes first and signs in later keeps the row: it was theirs.

`POST /subscriptions/{id}/replace` asks everybody, a service too, for the secret stored until now: service workers
have no other credentials. A token that names another user than the owner is refused all the same. The new endpoint
may be another row's if that has the same owner, or the same keys; the row is then soft-deleted.
"""

import hmac
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from app.push.keys import InvalidSubscriptionKeys, normalise_auth


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks, as the credentials say: a user, nobody by name, or a service of the tenant.

    `shown_auth` is the content of X-Subscription-Auth, believed only as far as it matches.
    """

    tenant_id: UUID
    user_id: str | None = None
    is_service: bool = False
    shown_auth: str | None = None


@dataclass(frozen=True, slots=True)
class Holding:
    """What decides about a stored subscription: its owner and its keys, in canonical form."""

    user_id: str | None
    p256dh: str
    auth: str


class Claim(StrEnum):
    """What a requester may do with an endpoint that is already stored."""

    UPDATE = "update"
    HAND_OVER = "hand over"
    REFUSE = "refuse"


def claim_to(stored: Holding, requester: Requester, *, p256dh: str, auth: str) -> Claim:
    """Decide by the table above. The keys offered are in canonical form."""
    same_auth = _is_same(stored.auth, auth)
    if requester.is_service or _is_owner(stored, requester) or (stored.user_id is None and same_auth):
        return Claim.UPDATE
    return Claim.HAND_OVER if has_keys(stored, p256dh=p256dh, auth=auth) else Claim.REFUSE


def may_manage(stored: Holding, requester: Requester) -> bool:
    """Tell whether the requester may see, change and delete a subscription of its own tenant."""
    return requester.is_service or _is_owner(stored, requester)


def has_keys(stored: Holding, *, p256dh: str, auth: str) -> bool:
    """Tell whether these are the stored keys, both of them. They are in canonical form."""
    return _is_same(stored.auth, auth) and _is_same(stored.p256dh, p256dh)


def may_replace(
    stored: Holding, requester: Requester | None, *, old_auth: str, is_stored_already: bool = False
) -> bool:
    """Tell whether what is stored may be replaced by who shows `old_auth`; `requester` is None without credentials.

    `is_stored_already`: what is offered is what is stored, so the secret of before is no longer known.
    """
    named = requester.user_id if requester is not None else None
    is_somebody_elses = named is not None and stored.user_id is not None and named != stored.user_id
    return not is_somebody_elses and (_is_same(stored.auth, old_auth) or is_stored_already)


def may_take_over(other: Holding, stored: Holding, *, p256dh: str, auth: str) -> bool:
    """Tell whether a subscription that is being replaced may take the endpoint of another one, with these keys."""
    is_its_owners = other.user_id is not None and other.user_id == stored.user_id
    return is_its_owners or has_keys(other, p256dh=p256dh, auth=auth)


def _is_owner(stored: Holding, requester: Requester) -> bool:
    if stored.user_id is not None:
        return requester.user_id == stored.user_id
    return _shows(stored.auth, requester.shown_auth)


def _shows(secret: str, shown: str | None) -> bool:
    try:
        return shown is not None and _is_same(secret, normalise_auth(shown))
    except InvalidSubscriptionKeys:
        return False


def _is_same(secret: str, other: str) -> bool:
    return hmac.compare_digest(secret.encode(), other.encode())
