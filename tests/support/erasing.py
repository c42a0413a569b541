"""A person, the erasure of that person, and what might still tell of it."""

from typing import Any

from sqlalchemy import func, select, text

from app.db.session import SessionFactory, transaction
from app.models import DEFAULT_TENANT_ID
from app.users import service
from app.users.service import Erasure
from tests.support.delivery import Subscriber

PERSON = "alice@example.com"


def erase(sessions: SessionFactory) -> Erasure:
    return service.erase(sessions, DEFAULT_TENANT_ID, PERSON)


def everything(sessions: SessionFactory) -> str:
    """Return all that stands in our tables, as text."""
    with transaction(sessions) as session:
        tables = session.scalars(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename LIKE 'push%'")
        ).all()
        rows = [session.scalars(text(f'SELECT CAST(t AS text) FROM "{table}" AS t')).all() for table in tables]
    return "\n".join(row for table in rows for row in table)


def traces_of(subscribers: list[Subscriber]) -> list[str]:
    rows = [subscriber.row for subscriber in subscribers]
    return [
        PERSON,
        *(str(row.id) for row in rows),
        *(row.endpoint for row in rows),
        *(row.p256dh for row in rows),
        *(row.auth for row in rows),
        *(row.endpoint_hash.hex() for row in rows),
    ]


def count(sessions: SessionFactory, *conditions: Any) -> int:
    with transaction(sessions) as session:
        return session.scalars(select(func.count()).where(*conditions)).one()
