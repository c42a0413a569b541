"""The commands `quarantine`, and what is held for them to let go."""

from typing import Any
from uuid import UUID

from sqlalchemy import text
from typer.testing import CliRunner, Result

from app import cli
from app.db.session import SessionFactory, transaction
from app.delivery import guard
from tests.support.losses import FCM, add_subscriptions, quarantines

ACTIVE = "enabled AND gone_at IS NULL AND deleted_at IS NULL AND quarantine_id IS NULL AND quarantined_at IS NULL"


def run(*arguments: object, answer: str | None = None) -> Result:
    return CliRunner().invoke(cli.cli, ["quarantine", *map(str, arguments)], input=answer)


def trip_the_guard(sessions: SessionFactory, key_id: UUID, count: int = 25, *, host: str = FCM) -> UUID:
    """Let so many be gone at a push service, and the guard trip; return the quarantine's id."""
    add_subscriptions(sessions, count, key_id, host=host, gone_ago="0 seconds")
    guard.look(sessions)
    return next(row.id for row in quarantines(sessions) if row.endpoint_host == host and row.ended_at is None)


def execute(sessions: SessionFactory, statement: str, **values: Any) -> None:
    with transaction(sessions) as session:
        session.execute(text(statement), values)


def ends(sessions: SessionFactory) -> list[tuple[str | None, int | None]]:
    return [(row.ended_as, row.ended_count) for row in quarantines(sessions)]
