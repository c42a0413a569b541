"""Idempotency-Key: a send and its answer, remembered by the key that the client gave it.

A key is stored in the transaction that stores its notification, so there is never one without the other. Who uses
the same key meanwhile waits for that transaction, and then knows.
Source: draft-ietf-httpapi-idempotency-key-header.
"""

import json
import math
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import delete, func, select, tuple_, update
from sqlalchemy.orm import Session

from app.db.session import SessionFactory, transaction
from app.errors import Conflict, Invalid
from app.models import IdempotencyKey

KEPT_FOR = timedelta(days=7)
PURGE_EVERY_SECONDS = 60.0
PURGED_AT_ONCE = 10_000
# The first request may take INLINE_TIMEOUT_SECONDS, and mostly takes a fraction of a second.
ASK_AGAIN_WITHIN_SECONDS = 5


class KeyReused(Invalid):
    code = "idempotency-key-reused"
    title = "The Idempotency-Key stands for another request"


class KeyInUse(Conflict):
    """The first request with the key is still running, or has died a moment ago."""

    code = "idempotency-key-in-use"
    title = "The first request with this Idempotency-Key is still running"

    def __init__(self, *, retry_after_seconds: int) -> None:
        super().__init__(f"It is not answered yet. Ask again in {retry_after_seconds} s.")
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class Answer:
    """What a send is answered: the status, and the body as JSON."""

    status_code: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a key stood for already. `answer` is None when its request died before it could answer."""

    notification_id: UUID
    answer: Answer | None


@dataclass(frozen=True, slots=True)
class Key:
    """A tenant's key, and the hash of the request that it stands for."""

    tenant_id: UUID
    text: str
    request_hash: bytes = b""

    @classmethod
    def of(cls, tenant_id: UUID, text: str, request: BaseModel) -> "Key":
        """Return the key for a request: its kind, and what it says, however its JSON was written."""
        said = request.model_dump(mode="json", exclude_defaults=True)
        canonical = json.dumps([type(request).__name__, said], sort_keys=True, separators=(",", ":"))
        return cls(tenant_id, text, sha256(canonical.encode()).digest())

    @property
    def lock(self) -> int:
        """The advisory lock of this key. Two keys of the same lock wait for each other, no more."""
        digest = sha256(b"push idempotency key" + self.tenant_id.bytes + self.text.encode()).digest()
        return int.from_bytes(digest[:8], signed=True)


def find(session: Session, key: Key) -> Earlier | None:
    """Return what the key stands for; None when it is new: then it is the caller's until the transaction ends.

    Raises KeyReused for another request than the first one, and KeyInUse while the first one is not answered.
    """
    session.execute(select(func.pg_advisory_xact_lock(key.lock)))
    found = session.get(IdempotencyKey, (key.tenant_id, key.text))
    if found is None:
        return None
    if found.request_hash != key.request_hash:
        raise KeyReused("It was sent with another body, or to another address. Take a new key for a new request.")
    assert found.notification_id is not None
    if found.response_status is not None and found.response_body is not None:
        return Earlier(found.notification_id, Answer(found.response_status, found.response_body))
    if found.locked_until is not None:
        seconds_left = (found.locked_until - session.scalars(select(func.clock_timestamp())).one()).total_seconds()
        if seconds_left > 0:
            raise KeyInUse(retry_after_seconds=min(math.ceil(seconds_left), ASK_AGAIN_WITHIN_SECONDS))
    return Earlier(found.notification_id, None)


def is_known(session: Session, key: Key) -> bool:
    """Return whether the key was sent before, and stored something."""
    return session.get(IdempotencyKey, (key.tenant_id, key.text)) is not None


def wait_for(session: Session, key: Key) -> None:
    """Return once whoever was just storing something under this key has done so, or has not."""
    session.execute(select(func.pg_advisory_xact_lock_shared(key.lock)))


def store(
    session: Session, key: Key, notification_id: UUID, *, answer: Answer | None, answered_within: timedelta
) -> None:
    """Remember the key with its notification, and the answer when it is known already."""
    session.add(
        IdempotencyKey(
            tenant_id=key.tenant_id,
            key=key.text,
            request_hash=key.request_hash,
            notification_id=notification_id,
            response_status=answer and answer.status_code,
            response_body=answer and answer.body,
            locked_until=None if answer else func.clock_timestamp() + answered_within,
        )
    )


def remember(session: Session, key: Key, notification_id: UUID, answer: Answer) -> None:
    """Store the answer of the request that stored the key, if that is still waited for.

    Somebody in it may have been erased meanwhile: then the key is answered from the ledger.
    """
    session.execute(
        update(IdempotencyKey)
        .where(
            IdempotencyKey.tenant_id == key.tenant_id,
            IdempotencyKey.key == key.text,
            IdempotencyKey.notification_id == notification_id,
            IdempotencyKey.locked_until.is_not(None),
        )
        .values(response_status=answer.status_code, response_body=answer.body, locked_until=None)
    )


def purge(sessions: SessionFactory) -> None:
    """Forget keys older than KEPT_FOR, the oldest first and at most PURGED_AT_ONCE. A job for Periodic."""
    # Served by ix_push_idempotency_keys_created_at.
    old = (
        select(IdempotencyKey.tenant_id, IdempotencyKey.key)
        .where(IdempotencyKey.created_at < func.now() - KEPT_FOR)
        .order_by(IdempotencyKey.created_at)
        .limit(PURGED_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    with transaction(sessions) as session:
        session.execute(
            delete(IdempotencyKey)
            .where(tuple_(IdempotencyKey.tenant_id, IdempotencyKey.key).in_(old))
            .execution_options(synchronize_session=False)
        )
