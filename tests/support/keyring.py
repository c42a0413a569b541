"""Subscriptions of a VAPID key, written straight into the database."""

from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.orm import Session

from app.ids import new_id
from app.models import DEFAULT_TENANT_ID, Subscription


def add_subscriptions(session: Session, key_id: UUID, count: int = 1, **columns: Any) -> list[UUID]:
    """Let so many browsers have subscribed with a key, and return their ids."""
    ids = [new_id() for _ in range(count)]
    rows = [
        {
            "id": each,
            "tenant_id": DEFAULT_TENANT_ID,
            "endpoint": f"https://fcm.googleapis.com/fcm/send/{each}",
            "endpoint_hash": sha256(each.bytes).digest(),
            "endpoint_host": "fcm.googleapis.com",
            "p256dh": "B",
            "auth": "a",
            "vapid_key_id": key_id,
            **columns,
        }
        for each in ids
    ]
    session.execute(insert(Subscription).values(rows))
    return ids
