"""Which VAPID key to use: the active one for new subscriptions, each subscription's own for sending."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.errors import Unavailable
from app.ids import new_id
from app.keyring.sealing import CannotUnseal, Seal
from app.models import DEFAULT_TENANT_ID, VapidKey
from app.push import keys as push_keys

_KEYRING_LOCK = 0x70757368_6B657973  # "pushkeys": two processes starting at once generate one key, not two


class NoActiveKey(Unavailable):
    code = "no-vapid-key"
    title = "No application server key yet"


class Keyring:
    """Opens stored key pairs, each once per process. Safe to share between threads."""

    def __init__(self, secret_key: str) -> None:
        self._seal = Seal(secret_key)
        self._opened: dict[UUID, push_keys.VapidKey] = {}

    def key_pairs(self, session: Session, key_ids: Collection[UUID]) -> dict[UUID, push_keys.VapidKey]:
        """Return the key pairs by id. Raises CannotUnseal under another SECRET_KEY."""
        missing = [key_id for key_id in key_ids if key_id not in self._opened]
        if missing:
            for row in session.scalars(select(VapidKey).where(VapidKey.id.in_(missing))):
                self._opened[row.id] = self._open(row)
        return {key_id: self._opened[key_id] for key_id in key_ids}

    def add(self, session: Session, tenant_id: UUID, pair: push_keys.VapidKey) -> VapidKey:
        """Store a key pair and make it the tenant's active one; the others keep signing for their subscribers.

        One that is stored already is sealed anew: it may have been under another SECRET_KEY.
        """
        session.execute(
            update(VapidKey).where(VapidKey.tenant_id == tenant_id, VapidKey.is_active).values(is_active=False)
        )
        row = key_by_public(session, tenant_id, pair.public)
        if row is None:
            row = VapidKey(id=new_id(), tenant_id=tenant_id, public_key=pair.public)
            session.add(row)
        row.private_key_sealed = self._seal.seal(pair.export_private().encode("ascii"), context=row.id.bytes)
        row.is_active = True
        row.retired_at = None
        session.flush()
        return row

    def synchronise(self, session: Session, configured: push_keys.VapidKey | None) -> VapidKey:
        """Make the configured pair the default tenant's active key; with none configured, see that there is one.

        Raises CannotUnseal when none is configured and the active key was stored under another SECRET_KEY.
        """
        session.execute(select(func.pg_advisory_xact_lock(_KEYRING_LOCK)))
        active = _find_active(session, DEFAULT_TENANT_ID)
        if configured is not None:
            is_in_place = active is not None and active.public_key == configured.public and self._opens(active)
            return active if active and is_in_place else self.add(session, DEFAULT_TENANT_ID, configured)
        if active is None:
            return self.add(session, DEFAULT_TENANT_ID, push_keys.VapidKey.generate())
        self._open(active)
        return active

    def _open(self, row: VapidKey) -> push_keys.VapidKey:
        private = self._seal.open(row.private_key_sealed, context=row.id.bytes)
        return push_keys.VapidKey.load(private.decode("ascii"), row.public_key)

    def _opens(self, row: VapidKey) -> bool:
        try:
            self._open(row)
        except CannotUnseal:
            return False
        return True


def active_key(session: Session, tenant_id: UUID) -> VapidKey:
    """Return the key that new subscriptions are made with. Raises NoActiveKey before the first start is through."""
    key = _find_active(session, tenant_id)
    if key is None:
        raise NoActiveKey("This installation has no application server key yet. Try again in a moment.")
    return key


def key_by_public(session: Session, tenant_id: UUID, public_key: str) -> VapidKey | None:
    """Return the tenant's key with this public part (canonical base64url), if it has one."""
    return session.scalars(
        select(VapidKey).where(VapidKey.tenant_id == tenant_id, VapidKey.public_key == public_key)
    ).one_or_none()


def _find_active(session: Session, tenant_id: UUID) -> VapidKey | None:
    return session.scalars(
        select(VapidKey).where(VapidKey.tenant_id == tenant_id, VapidKey.is_active)
    ).one_or_none()
