"""Tenants: audiences of their own, each with its VAPID key, and if it likes, an issuer of its own for tokens."""

import re
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.errors import Conflict, Invalid, NotFound
from app.ids import new_id
from app.keyring.service import Keyring
from app.models import Tenant
from app.tenants.public_keys import InvalidPublicKey, read_public_keys
from app.web.text import refuse_unprintable_text

MAX_NAME_LENGTH = 100
MAX_ISSUER_LENGTH = 255

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_TENANTS_LOCK = 0x70757368_74656E61  # "pushtena": two who register the same issuer at once meet here


class InvalidTenant(Invalid):
    code = "invalid-tenant"
    title = "No such tenant can be"


class TenantTaken(Conflict):
    """The short name or the issuer belongs to another tenant, or to the settings."""

    code = "tenant-taken"
    title = "Taken already"


class TenantNotFound(NotFound):
    code = "tenant-not-found"
    title = "No such tenant"


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """What the tokens of a tenant's users say in `iss`, and the keys (PEM, one or several) that verify them."""

    issuer: str
    public_key: str


def create(
    session: Session,
    keyring: Keyring,
    slug: str,
    *,
    name: str | None = None,
    trusted: TrustedIssuer | None = None,
    own_issuer: str | None,
) -> Tenant:
    """Store a tenant and its first VAPID key. `own_issuer` is JWT_ISSUER, which no tenant can take over.

    Raises InvalidTenant, TenantTaken, and CannotUnseal when the keys there are under another SECRET_KEY.
    """
    if not _SLUG.fullmatch(slug):
        raise InvalidTenant("A short name has 1 to 63 characters: a to z, 0 to 9, and hyphens inside.")
    _lock(session)
    if session.scalars(select(Tenant.id).where(Tenant.slug == slug)).one_or_none() is not None:
        raise TenantTaken(f"There is a tenant {slug} already. See: python -m app.cli tenants change.")
    tenant = Tenant(id=new_id(), slug=slug, name=_checked_name(slug if name is None else name))
    session.add(tenant)
    if trusted is not None:
        _trust(session, tenant, trusted, own_issuer)
    session.flush()
    keyring.rotate(session, tenant.id)
    return tenant


def rename(session: Session, tenant: Tenant, name: str) -> None:
    """Give a tenant another name, for people. Raises InvalidTenant."""
    tenant.name = _checked_name(name)
    session.flush()


def trust(session: Session, tenant: Tenant, trusted: TrustedIssuer | None, *, own_issuer: str | None) -> None:
    """Let the tokens of this issuer belong to the tenant, and those of the one before no longer; None: of nobody.

    Processes remember issuers for seconds (web/auth.py), and take it that long. Raises InvalidTenant, TenantTaken.
    """
    if trusted is None:
        tenant.jwt_issuer = tenant.jwt_public_key = None
    else:
        _lock(session)
        _trust(session, tenant, trusted, own_issuer)
    session.flush()


def find(session: Session, slug: str) -> Tenant:
    """Return the tenant with this short name. Raises TenantNotFound."""
    tenant = (
        session.scalars(select(Tenant).where(Tenant.slug == slug)).one_or_none() if _SLUG.fullmatch(slug) else None
    )
    if tenant is None:
        raise TenantNotFound("There is no tenant with this short name. See: python -m app.cli tenants list.")
    return tenant


def all_tenants(session: Session) -> list[Tenant]:
    return list(session.scalars(select(Tenant).order_by(Tenant.slug)))


def _lock(session: Session) -> None:
    session.execute(select(func.pg_advisory_xact_lock(_TENANTS_LOCK)))


def _trust(session: Session, tenant: Tenant, trusted: TrustedIssuer, own_issuer: str | None) -> None:
    issuer = _checked_text(trusted.issuer, "issuer", MAX_ISSUER_LENGTH)
    try:
        read_public_keys(trusted.public_key)
    except InvalidPublicKey as error:
        raise InvalidTenant(f"The file of public keys {error}.") from None
    if issuer == own_issuer:
        raise TenantTaken("This is JWT_ISSUER: its tokens are verified with the keys of the settings.")
    holder = session.scalars(select(Tenant.slug).where(Tenant.jwt_issuer == issuer, Tenant.id != tenant.id)).first()
    if holder is not None:
        raise TenantTaken(f"The issuer is registered for the tenant {holder}.")
    tenant.jwt_issuer, tenant.jwt_public_key = issuer, trusted.public_key


def _checked_name(name: str) -> str:
    return _checked_text(name.strip(), "name", MAX_NAME_LENGTH)


def _checked_text(text: str, what: str, longest: int) -> str:
    try:
        return refuse_unprintable_text(text, longest)
    except ValueError as error:
        raise InvalidTenant(f"The {what} {error}.") from None
