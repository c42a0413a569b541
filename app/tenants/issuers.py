"""Who signs the tokens of a tenant's users: the issuer it registered, and that issuer's public keys."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Tenant


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose tokens they are, and the keys that verify them: PEM, one or several."""

    tenant_id: UUID
    public_key: str


def registered_issuers(session: Session) -> dict[str, Issuer]:
    """Return all issuers that tenants have registered, by what their tokens say in `iss`."""
    rows = session.execute(
        select(Tenant.jwt_issuer, Tenant.id, Tenant.jwt_public_key).where(Tenant.jwt_issuer.is_not(None))
    )
    return {row.jwt_issuer: Issuer(row.id, row.jwt_public_key or "") for row in rows}
