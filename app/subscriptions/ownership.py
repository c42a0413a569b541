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
    return Claim.HAND_OVER if same_auth and _is_same(stored.p256dh, p256dh) else Claim.REFUSE


def may_manage(stored: Holding, requester: Requester) -> bool:
    """Tell whether the requester may see, change and delete a subscription of its own tenant."""
    return requester.is_service or _is_owner(stored, requester)


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
