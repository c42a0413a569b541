"""With which VAPID key a subscription was made: the one named, the one stored with it, or else the active one."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from app.errors import Invalid
from app.keyring.service import active_key, key_by_id, key_by_public
from app.models import Subscription


class UnknownApplicationServerKey(Invalid):
    """Nothing we could send would reach a subscription made with somebody else's key."""

    code = "unknown-application-server-key"
    title = "Unknown application server key"


class MadeWith(NamedTuple):
    """A key of ours. It is assumed unless somebody said so: the page may have had the one from before."""

    key_id: UUID
    is_assumed: bool


def made_with(
    session: Session, tenant_id: UUID, application_server_key: str | None, stored: Subscription | None = None
) -> MadeWith:
    """Return with which key a browser subscribed, and keep that from being retired until the transaction ends.

    `application_server_key` is what it names, canonical; `stored` what we have of the same endpoint. Raises
    UnknownApplicationServerKey for a key that is not ours or is retired: nothing sent with it would arrive.
    """
    if application_server_key is not None:
        named = key_by_public(session, tenant_id, application_server_key, hold=True)
        if named is None or named.retired_at is not None:
            raise UnknownApplicationServerKey(
                "application_server_key is not one of ours. Subscribe with the key of GET /vapid/public-key."
            )
        return MadeWith(named.id, is_assumed=False)
    if stored is not None:
        # The same endpoint is the same browser subscription, made with the same application server key.
        is_assumed = stored.key_is_assumed and stored.first_accepted_at is None
        before = key_by_id(session, stored.vapid_key_id, hold=True)
        if before.retired_at is None:
            return MadeWith(before.id, is_assumed)
        if not is_assumed:
            raise UnknownApplicationServerKey(
                "This subscription was made with a key that is no longer used. Unsubscribe in the browser, and"
                " subscribe with the key of GET /vapid/public-key."
            )
    return MadeWith(active_key(session, tenant_id, hold=True).id, is_assumed=True)
