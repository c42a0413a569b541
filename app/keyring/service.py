"""Which VAPID key to use: the active one for new subscriptions, each subscription's own for sending."""

from collections.abc import Collection
from uuid import UUID

import structlog
from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from app.errors import Unavailable
from app.ids import new_id
from app.keyring.dependents import dependents_of
from app.keyring.sealing import CannotUnseal, Seal, derived_key
from app.models import DEFAULT_TENANT_ID, VapidKey
from app.push import keys as push_keys

SHORT_CHARACTERS = 8  # of a public key, for people: the first is the same for all

_KEYRING_LOCK = 0x70757368_6B657973  # "pushkeys": two processes starting at once generate one key, not two

log = structlog.stdlib.get_logger(__name__)


class NoActiveKey(Unavailable):
    code = "no-vapid-key"
    title = "No application server key yet"


class Keyring:
    """Opens stored key pairs, each once per process. Safe to share between threads."""

    def __init__(self, secret_key: str) -> None:
        self._seal = Seal(secret_key)
        self.receipt_key = derived_key(secret_key, purpose=b"push receipt tokens v1")
        self._opened: dict[UUID, push_keys.VapidKey] = {}

    def key_pairs(self, session: Session, key_ids: Collection[UUID]) -> dict[UUID, push_keys.VapidKey]:
        """Return the key pairs by id, whether retired or not. Raises CannotUnseal under another SECRET_KEY."""
        missing = [key_id for key_id in key_ids if key_id not in self._opened]
        if missing:
            for row in session.scalars(select(VapidKey).where(VapidKey.id.in_(missing))):
                self._opened[row.id] = self.open(row)
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
        self._lay_in(row, pair)
        row.is_active = True
        row.retired_at = None
        session.flush()
        return row

    def rotate(self, session: Session, tenant_id: UUID, *, whatever_opens: bool = False) -> VapidKey:
        """Make a new key the tenant's active one; the others keep signing for their subscribers.

        Raises CannotUnseal when those before were stored under another SECRET_KEY: the service, which has that,
        could not open the new one. `whatever_opens`: that SECRET_KEY is lost.
        """
        lock_keyring(session)
        if not whatever_opens:
            self.check(session)
        return self.add(session, tenant_id, push_keys.VapidKey.generate())

    def synchronise(self, session: Session, configured: push_keys.VapidKey | None) -> VapidKey:
        """See at a start that the configured pair is in its place, and return the default tenant's active key.

        The pair becomes active when it is not the one that was configured before: a restart undoes no rotation.
        With none configured, the first start makes one. Raises CannotUnseal as `check` does.
        """
        lock_keyring(session)
        if configured is not None:
            self._put_in_place(session, configured)
        active = _find_active(session, DEFAULT_TENANT_ID)
        if active is None:
            active = self.add(session, DEFAULT_TENANT_ID, push_keys.VapidKey.generate())
        self.check(session)
        return active

    def check(self, session: Session, configured: push_keys.VapidKey | None = None) -> None:
        """Raise CannotUnseal if a key that somebody needs was stored under another SECRET_KEY.

        Needed are the active ones, and those that subscriptions depend on. The configured one will be sealed anew.
        """
        for row in session.scalars(select(VapidKey).where(VapidKey.retired_at.is_(None)).order_by(VapidKey.id)):
            is_configured = configured is not None and row.public_key == configured.public
            if is_configured or self.opens(row):
                continue
            if row.is_active or dependents_of(session, row.id).total:
                raise CannotUnseal(
                    f"The VAPID key {short(row)} in the database was stored under another SECRET_KEY. Start with"
                    " that SECRET_KEY: without it the key's subscribers cannot be reached. If it is lost, they are:"
                    " `python -m app.cli keys rotate --force` makes a new key, and"
                    f" `python -m app.cli keys retire {short(row)} --force` gives up the old one."
                )

    def open(self, row: VapidKey) -> push_keys.VapidKey:
        """Return a stored key pair. Raises CannotUnseal."""
        private = self._seal.open(row.private_key_sealed, context=row.id.bytes)
        return push_keys.VapidKey.load(private.decode("ascii"), row.public_key)

    def opens(self, row: VapidKey) -> bool:
        """Tell whether a stored key pair was sealed under this SECRET_KEY."""
        try:
            self.open(row)
        except CannotUnseal:
            return False
        return True

    def _put_in_place(self, session: Session, configured: push_keys.VapidKey) -> None:
        row = key_by_public(session, DEFAULT_TENANT_ID, configured.public)
        if row is not None and not self.opens(row):
            self._lay_in(row, configured)
        is_retired = row is not None and row.retired_at is not None
        if row is None or not (row.is_configured or is_retired):
            row = self.add(session, DEFAULT_TENANT_ID, configured)
        if not row.is_configured:
            before = update(VapidKey).where(VapidKey.tenant_id == DEFAULT_TENANT_ID, VapidKey.is_configured)
            session.execute(before.values(is_configured=False))
            row.is_configured = True
        if is_retired:
            log.warning(
                "the VAPID key of the variables is retired, and stays so",
                key=short(row),
                hint=f"python -m app.cli keys restore {short(row)}",
            )

    def _lay_in(self, row: VapidKey, pair: push_keys.VapidKey) -> None:
        row.private_key_sealed = self._seal.seal(pair.export_private().encode("ascii"), context=row.id.bytes)


def lock_keyring(session: Session) -> None:
    """Keep others from changing which keys there are until the transaction ends."""
    session.execute(select(func.pg_advisory_xact_lock(_KEYRING_LOCK)))


def active_key(session: Session, tenant_id: UUID, *, hold: bool = False) -> VapidKey:
    """Return the key that new subscriptions are made with. Raises NoActiveKey before the first start is through.

    `hold`, here and below: until the transaction ends nobody retires it.
    """
    key = _find_active(session, tenant_id, hold=hold)
    if key is None:
        raise NoActiveKey("This installation has no application server key yet. Try again in a moment.")
    return key


def key_by_public(session: Session, tenant_id: UUID, public_key: str, *, hold: bool = False) -> VapidKey | None:
    """Return the tenant's key with this public part (canonical base64url), if it has one."""
    wanted = select(VapidKey).where(VapidKey.tenant_id == tenant_id, VapidKey.public_key == public_key)
    return session.scalars(_held(wanted) if hold else wanted).one_or_none()


def key_by_id(session: Session, key_id: UUID, *, hold: bool = False) -> VapidKey:
    """Return a key that a subscription names: it exists."""
    wanted = select(VapidKey).where(VapidKey.id == key_id)
    return session.scalars(_held(wanted) if hold else wanted).one()


def short(key: VapidKey) -> str:
    """Return how people are told of a key."""
    return key.public_key[:SHORT_CHARACTERS]


def _find_active(session: Session, tenant_id: UUID, *, hold: bool = False) -> VapidKey | None:
    wanted = select(VapidKey).where(VapidKey.tenant_id == tenant_id, VapidKey.is_active)
    return session.scalars(_held(wanted) if hold else wanted).one_or_none()


def _held(wanted: Select[VapidKey]) -> Select[VapidKey]:
    # As a foreign key does, so that nobody waits but who retires it.
    return wanted.with_for_update(read=True, key_share=True)
