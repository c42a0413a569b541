"""Runs migrations on our own tables only: the database is shared with a Django application.

The address comes from the settings, or from `config.attributes["database_url"]` when a program calls.
"""

from typing import Any

from alembic import context
from alembic.util import CommandError
from sqlalchemy import create_engine, pool, text

from app.db.base import Base
from app.db.embedded import EmbeddedPostgresUnavailable
from app.db.session import database_url_of, with_driver
from app.models import Subscription
from app.settings import SettingsError, load_settings

VERSION_TABLE = "push_alembic_version"
LOCK_TIMEOUT = "5s"  # give up rather than queue in front of the site's own queries
STATEMENT_TIMEOUT = "10min"
MIGRATION_LOCK = 0x70757368_6D696772  # "pushmigr": two deployments at once take turns

assert Subscription.metadata is Base.metadata  # importing the models filled it


def is_ours(name: str | None, kind: str, parents: Any) -> bool:
    """Keep alembic's eyes on our tables: no foreign table is ever compared, and no partition of ours."""
    if kind == "table":
        return name in Base.metadata.tables
    return (kind == "schema" and name is None) or parents.get("table_name") in Base.metadata.tables


def tell(*, step: Any, **_: Any) -> None:
    """Say on the command line what is being done; `alembic -q` says nothing."""
    verb = "Marked" if step.is_stamp else "Applied" if step.is_upgrade else "Reverted"
    for revision in step.up_revisions:
        context.config.print_stdout("%s %s", verb, revision.doc)


def configure(**options: Any) -> None:
    context.configure(
        target_metadata=Base.metadata,
        version_table=VERSION_TABLE,
        include_name=is_ours,
        compare_server_default=True,
        **options,
    )


def run_offline() -> None:
    configure(url="postgresql://", literal_binds=True, dialect_opts={"paramstyle": "named"})
    with context.begin_transaction():
        context.run_migrations()


def database_url() -> str:
    given: str | None = context.config.attributes.get("database_url")
    try:
        return given or database_url_of(load_settings())
    except (SettingsError, EmbeddedPostgresUnavailable) as error:
        raise CommandError(str(error)) from error


def run_online() -> None:
    engine = create_engine(with_driver(database_url()), poolclass=pool.NullPool)
    with engine.connect() as connection:
        configure(connection=connection, on_version_apply=tell)
        with context.begin_transaction():
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
            connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            context.run_migrations()
    engine.dispose()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
