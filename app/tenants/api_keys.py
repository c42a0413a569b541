"""API keys of services: made, listed and revoked. Only the SHA-256 of a key is stored."""

import secrets
from collections.abc import Collection, Sequence
from ipaddress import IPv6Network, ip_network
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.db.session import database_now
from app.errors import Conflict, Invalid, NotFound
from app.ids import new_id
from app.models import ApiKey, Tenant
from app.tenants.live_keys import digest_of
from app.tenants.scopes import Scope
from app.web.text import refuse_unprintable_text, refuse_unstorable_text

PREFIX = "pns_"
RANDOM_BYTES = 32
SHOWN_CHARACTERS = 12  # of a key, for people to tell keys apart: 48 bits of its 256
MAX_NAME_LENGTH = 100
MAX_NETWORKS = 100
MAX_LIVE_KEYS_OF_A_NAME = 2


class InvalidKeyOptions(Invalid):
    code = "invalid-key-options"
    title = "No such key can be made"


class TooManyLiveKeys(Conflict):
    code = "too-many-live-keys"
    title = "Two keys of this name live already"


class ApiKeyNotFound(NotFound):
    code = "api-key-not-found"
    title = "No such API key"


def create(
    session: Session, tenant: Tenant, name: str, *, scopes: Collection[Scope], networks: Sequence[str] = ()
) -> tuple[str, ApiKey]:
    """Store a new key, and return it with its row: nobody sees it again.

    Raises InvalidKeyOptions, and TooManyLiveKeys when two of this name live already.
    """
    name = _checked_name(name)
    allowed_networks = _checked_networks(networks)
    if not scopes:
        raise InvalidKeyOptions("A key without a scope can do nothing: name one at least.")
    _refuse_a_third(session, tenant, name)
    key = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    row = ApiKey(
        id=new_id(),
        tenant_id=tenant.id,
        name=name,
        prefix=key[:SHOWN_CHARACTERS],
        key_hash=digest_of(key.encode()),
        scopes=[scope.value for scope in Scope if scope in scopes],
        allowed_networks=allowed_networks,
    )
    session.add(row)
    session.flush()
    return key, row


def all_keys(session: Session) -> list[tuple[ApiKey, str]]:
    """Return every key that was ever made, each with its tenant's slug: by tenant, name and age."""
    rows = session.execute(
        select(ApiKey, Tenant.slug)
        .join(Tenant, Tenant.id == ApiKey.tenant_id)
        .order_by(Tenant.slug, ApiKey.name, ApiKey.created_at, ApiKey.id)
    )
    return [(row.ApiKey, row.slug) for row in rows]


def find(session: Session, named: str) -> ApiKey:
    """Return the key with this id, or with this beginning, or the key itself. Raises ApiKeyNotFound.

    The key itself is taken, too: whoever finds one lying about can revoke it.
    """
    try:
        refuse_unstorable_text(named)
    except ValueError:
        raise ApiKeyNotFound("No key begins so.") from None
    is_named = or_(ApiKey.id == _id_or_none(named), ApiKey.key_hash == digest_of(named.encode()))
    if named.startswith(PREFIX):
        is_named |= ApiKey.prefix.startswith(named, autoescape=True)
    found = session.scalars(select(ApiKey).where(is_named).order_by(ApiKey.created_at, ApiKey.id)).all()
    if not found:
        raise ApiKeyNotFound("No key begins so. See: python -m app.cli api-keys list.")
    if len(found) > 1:
        raise ApiKeyNotFound(f"{len(found)} keys begin so: {', '.join(each.prefix for each in found)}.")
    return found[0]


def revoke(session: Session, key: ApiKey) -> bool:
    """Let a key open nothing any more, and tell whether it was this that did it.

    Processes remember keys for seconds (web/key_login.py says how many), and take it that long.
    """
    locked = session.scalars(select(ApiKey).where(ApiKey.id == key.id).with_for_update()).one()
    if locked.revoked_at is not None:
        return False
    locked.revoked_at = database_now(session)
    session.flush()
    return True


def _refuse_a_third(session: Session, tenant: Tenant, name: str) -> None:
    # Whoever makes one at the same moment waits here. Its weaker lock stops nobody who subscribes or sends.
    session.execute(select(Tenant.id).where(Tenant.id == tenant.id).with_for_update(key_share=True))
    live = session.scalars(
        select(ApiKey.prefix)
        .where(ApiKey.tenant_id == tenant.id, ApiKey.name == name, ApiKey.revoked_at.is_(None))
        .order_by(ApiKey.created_at, ApiKey.id)
    ).all()
    if len(live) >= MAX_LIVE_KEYS_OF_A_NAME:
        raise TooManyLiveKeys(
            f"The keys {' and '.join(live)} of {name} live. Let the service use one of them, and revoke the other:"
            " python -m app.cli api-keys revoke."
        )


def _checked_name(name: str) -> str:
    try:
        return refuse_unprintable_text(name.strip(), MAX_NAME_LENGTH)
    except ValueError as error:
        raise InvalidKeyOptions(f"The name {error}.") from None


def _checked_networks(texts: Sequence[str]) -> list[str]:
    """Return networks in the form in which they are compared: with addresses as client_address gives them."""
    if len(texts) > MAX_NETWORKS:
        raise InvalidKeyOptions(f"A key can be tied to {MAX_NETWORKS} networks at most.")
    checked = []
    for text in texts:
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            raise InvalidKeyOptions(f"{text!r} is no address or network like 10.0.0.0/8.") from None
        if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped:
            raise InvalidKeyOptions(f"{text!r} is IPv4 in IPv6's clothes. Write it as IPv4.")
        checked.append(str(network))
    return checked


def _id_or_none(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
