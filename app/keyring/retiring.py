"""Retiring VAPID keys, and bringing them back: after that, or until then, nothing is signed with a key."""

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.errors import Conflict, NotFound
from app.keyring.dependents import Dependents, dependents_of
from app.keyring.service import Keyring, lock_keyring, short
from app.models import Tenant, VapidKey

FEWEST_CHARACTERS = 6  # of a public key, to name it by


class KeyNotFound(NotFound):
    """No key, or more than one, begins so."""

    code = "vapid-key-not-found"
    title = "No such application server key"


class KeyIsActive(Conflict):
    code = "vapid-key-active"
    title = "The application server key is the active one"


class KeyInUse(Conflict):
    """Subscriptions depend on the key, more than may be lost."""

    code = "vapid-key-in-use"
    title = "The application server key is in use"

    def __init__(self, detail: str, dependents: Dependents) -> None:
        super().__init__(detail)
        self.dependents = dependents


def find_key(session: Session, beginning: str, *, tenant: str | None = None) -> VapidKey:
    """Return the key whose public part is this or begins so; among those of a tenant, by its slug, if given.

    Raises KeyNotFound.
    """
    beginning = beginning.rstrip("=…. ")
    if len(beginning) < FEWEST_CHARACTERS:
        raise KeyNotFound(
            f"Name a key by its public part, or by at least the first {FEWEST_CHARACTERS} characters."
        )
    wanted = select(VapidKey).where(VapidKey.public_key.startswith(beginning, autoescape=True)).limit(2)
    if tenant is not None:
        wanted = wanted.join(Tenant, Tenant.id == VapidKey.tenant_id).where(Tenant.slug == tenant)
    found = session.scalars(wanted).all()
    if not found:
        raise KeyNotFound(f"No key begins with {beginning}: `python -m app.cli keys status` lists them.")
    if len(found) > 1:
        raise KeyNotFound(f"Several keys begin with {beginning}: give more characters of it, or --tenant.")
    return found[0]


def retire(session: Session, key_id: UUID, *, lose_at_most: float = 0) -> Dependents | None:
    """Sign nothing with a key from now on, and return who depended on it; None when it was retired already.

    Its private part stays, sealed. Until the transaction ends nobody can subscribe with it. Raises KeyIsActive, and
    KeyInUse when more than `lose_at_most` depend on it.
    """
    lock_keyring(session)
    key = _locked(session, key_id)
    if key.is_active:
        raise KeyIsActive(
            f"{short(key)} is the key that browsers subscribe with. Make a new one first: keys rotate."
        )
    if key.retired_at is not None:
        return None
    dependents = dependents_of(session, key_id)
    if dependents.total > lose_at_most:
        depend = "subscription depends" if dependents.total == 1 else "subscriptions depend"
        raise KeyInUse(f"{dependents.total:,} {depend} on {short(key)}.", dependents)
    key.retired_at = func.now()
    session.flush()
    return dependents


def restore(session: Session, keyring: Keyring, key_id: UUID) -> bool:
    """Let a retired key sign again. False when it was not retired.

    Raises CannotUnseal when it was stored under another SECRET_KEY: the service could not open it.
    """
    lock_keyring(session)
    key = _locked(session, key_id)
    if key.retired_at is None:
        return False
    keyring.open(key)
    key.retired_at = None
    session.flush()
    return True


def _locked(session: Session, key_id: UUID) -> VapidKey:
    # Against those who hold it: whoever is just subscribing with it is counted, too.
    wanted = select(VapidKey).where(VapidKey.id == key_id).with_for_update()
    return session.scalars(wanted.execution_options(populate_existing=True)).one()
