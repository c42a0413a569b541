"""Audiences of which some are gone, written at once: for the guard against mass losses."""

from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.db.session import SessionFactory, transaction
from app.ids import new_id
from app.models import DEFAULT_TENANT_ID, Quarantine, VapidKey

FCM = "fcm.googleapis.com"

_ADD = text(
    """
    INSERT INTO push_subscriptions (
        id, tenant_id, endpoint, endpoint_hash, endpoint_host, p256dh, auth, vapid_key_id, created_at, updated_at,
        first_accepted_at, last_used, gone_at, enabled
    )
    SELECT id, :tenant_id, 'https://' || :host || '/' || id, sha256(CAST(CAST(id AS text) AS bytea)), :host,
           'p', 'a', :vapid_key_id, now() - interval '90 days', now() - interval '90 days',
           CASE WHEN :is_established THEN now() - interval '80 days' END,
           now() - CAST(:used_ago AS interval),
           now() - CAST(:gone_ago AS interval),
           CAST(:gone_ago AS interval) IS NULL
    FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, :count)) AS new
    RETURNING id
    """
)


def add_key(session: Session, tenant_id: UUID = DEFAULT_TENANT_ID, *, public_key: str = "B" * 87) -> UUID:
    key = VapidKey(
        id=new_id(), tenant_id=tenant_id, public_key=public_key, private_key_sealed=b"none", is_active=False
    )
    session.add(key)
    session.flush()
    return key.id


def add_subscriptions(
    sessions: SessionFactory,
    count: int,
    vapid_key_id: UUID,
    *,
    tenant_id: UUID = DEFAULT_TENANT_ID,
    host: str = FCM,
    is_established: bool = True,
    used_ago: str | None = "1 hour",
    gone_ago: str | None = None,
) -> list[UUID]:
    """Store so many, accepted last and called gone so long ago; None: never. Return their ids."""
    values = {
        "count": count,
        "vapid_key_id": vapid_key_id,
        "tenant_id": tenant_id,
        "host": host,
        "is_established": is_established,
        "used_ago": used_ago,
        "gone_ago": gone_ago,
    }
    with transaction(sessions) as session:
        return list(session.scalars(_ADD, values))


def quarantines(sessions: SessionFactory) -> list[Quarantine]:
    with transaction(sessions) as session:
        return list(session.scalars(select(Quarantine).order_by(Quarantine.id)))


def counted(sessions: SessionFactory, condition: str) -> int:
    """Return how many subscriptions meet this condition, in SQL."""
    with transaction(sessions) as session:
        return int(session.scalar(text(f"SELECT count(*) FROM push_subscriptions WHERE {condition}")) or 0)
