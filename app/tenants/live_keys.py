"""API keys as requests look them up: those that are not revoked, by the SHA-256 of each."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from uuid import UUID

from sqlalchemy import Row, func, or_, select, update
from sqlalchemy.orm import Session

from app.models import ApiKey
from app.tenants.scopes import ALL_SCOPES, Scope

IPNetwork = IPv4Network | IPv6Network

USE_IS_NOTED_EVERY = timedelta(minutes=1)

_LIVE = select(ApiKey.id, ApiKey.tenant_id, ApiKey.scopes, ApiKey.allowed_networks, ApiKey.key_hash).where(
    ApiKey.revoked_at.is_(None)
)


@dataclass(frozen=True, slots=True)
class LiveKey:
    """What a request needs to know of a key. `networks` None: it is taken from anywhere. `id` None: API_KEY."""

    id: UUID | None
    tenant_id: UUID
    scopes: frozenset[Scope]
    networks: tuple[IPNetwork, ...] | None = None


def digest_of(key: bytes) -> bytes:
    """Return what is stored of a key: random as it is, it needs neither salt nor stretching."""
    return hashlib.sha256(key).digest()


def live_keys(session: Session) -> dict[bytes, LiveKey]:
    """Return all keys that live. There are as many as an operator has made, so all fit into memory."""
    return {row.key_hash: _live(row) for row in session.execute(_LIVE)}


def find_live(session: Session, digest: bytes) -> LiveKey | None:
    row = session.execute(_LIVE.where(ApiKey.key_hash == digest)).one_or_none()
    return None if row is None else _live(row)


def note_use(session: Session, key_id: UUID) -> None:
    """Write down that a key was used just now, unless that was done within the last minute, or is being done."""
    is_due = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < func.now() - USE_IS_NOTED_EVERY)
    free = select(ApiKey.id).where(ApiKey.id == key_id, is_due).with_for_update(skip_locked=True)
    session.execute(update(ApiKey).where(ApiKey.id.in_(free)).values(last_used_at=func.now()))


def _live(row: Row[UUID, UUID, list[str], list[str], bytes]) -> LiveKey:
    networks = _networks(row.allowed_networks) if row.allowed_networks else None
    return LiveKey(row.id, row.tenant_id, ALL_SCOPES.intersection(row.scopes), networks)


def _networks(texts: Sequence[str]) -> tuple[IPNetwork, ...]:
    """Return the networks. One that cannot be read, which only another hand can have written, admits nobody."""
    networks = []
    for text in texts:
        try:
            networks.append(ip_network(text))
        except ValueError:
            continue
    return tuple(networks)
