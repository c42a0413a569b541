"""Our migrations in a database that belongs to a Django application as well."""

import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime

import psycopg2
import pytest
from alembic import command
from alembic.config import Config
from psycopg2.sql import SQL, Composable, Identifier

from app.db.base import Base
from app.db.session import create_sessions, transaction
from app.delivery.partitions import ensure_partitions
from tests.support.databases import PROJECT_ROOT, alembic_config, dispose

OURS = {*Base.metadata.tables, "push_alembic_version"}
STAYING_PARENTS = {"push_tenants", "push_vapid_keys"}
Facts = set[tuple[object, ...]]

TABLES = """
    SELECT c.relname FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'S', 'v')
"""
COLUMNS = """
    SELECT table_name, 'column', column_name, data_type, is_nullable, column_default, character_maximum_length
    FROM information_schema.columns WHERE table_schema = 'public'
"""
INDEXES = "SELECT tablename, 'index', indexdef FROM pg_indexes WHERE schemaname = 'public'"
CONSTRAINTS = """
    SELECT c.relname, 'constraint', k.conname, pg_get_constraintdef(k.oid)
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
    WHERE c.relnamespace = 'public'::regnamespace
"""
ADD_BATCH = """
    INSERT INTO push_delivery_batches
        (id, tenant_id, notification_id, planned_at, endpoint_host, vapid_key_id, size, state, not_before)
    SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), now(), 'push.example.net', gen_random_uuid(),
           2, 'ready', now()
"""
CLAIMED_BATCHES = "SELECT claimed_at IS NOT NULL, count(*) FROM push_delivery_batches GROUP BY 1 ORDER BY 1"
FOREIGN_KEYS_WITHOUT_AN_INDEX = """
    SELECT k.conrelid::regclass::text, a.attname, k.confrelid::regclass::text
    FROM pg_constraint k
    JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
    WHERE k.contype = 'f' AND k.conparentid = 0 AND NOT EXISTS (
        SELECT FROM pg_index i
        WHERE i.indrelid = k.conrelid AND i.indkey[0] = k.conkey[1] AND i.indpred IS NULL
    )
"""


def ask(url: str, statement: str | Composable) -> list[tuple[object, ...]]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def tables(url: str) -> set[str]:
    return {str(name) for (name,) in ask(url, TABLES)}


def foreign_facts(url: str) -> Facts:
    """Return everything about the tables that are not ours: columns, indexes, constraints, rows."""
    facts: Facts = {fact for query in (COLUMNS, INDEXES, CONSTRAINTS) for fact in ask(url, query)}
    facts = {
        fact for fact in facts if str(fact[0]) not in OURS and not str(fact[0]).startswith("push_delivery_logs")
    }
    for table in {str(fact[0]) for fact in facts}:
        rows = ask(url, SQL("SELECT t::text FROM {} t").format(Identifier(table)))
        facts |= {(table, "row", *row) for row in rows}
    return facts


@pytest.fixture
def django_database_url(empty_database_url: str) -> str:
    """A database with the tables of a Django site, one of which looks like ours."""
    subprocess.run(
        [sys.executable, "-m", "tests.support.django_site", empty_database_url],
        cwd=PROJECT_ROOT,
        check=True,
        timeout=120,
    )
    with closing(psycopg2.connect(empty_database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE push_devices (id serial PRIMARY KEY, user_id int REFERENCES auth_user, token text);"
            "INSERT INTO push_devices (user_id, token) SELECT id, 'a token' FROM auth_user"
        )
    return empty_database_url


def test_a_django_sites_tables_are_left_alone(django_database_url: str) -> None:
    config = alembic_config(django_database_url)
    before = foreign_facts(django_database_url)
    tables_before = tables(django_database_url)

    for step in (upgrade, command.check, downgrade, upgrade, command.check):
        step(config)

        assert foreign_facts(django_database_url) == before, step.__name__
    assert {("auth_user", "row"), ("push_devices", "row"), ("django_migrations", "row")} <= {
        fact[:2] for fact in before
    }
    assert tables(django_database_url) == tables_before | OURS
    assert ask(django_database_url, "SELECT version_num FROM push_alembic_version")


def test_a_downgrade_takes_away_all_that_is_ours(empty_database_url: str) -> None:
    upgrade_and_add_a_partition(empty_database_url)

    downgrade(alembic_config(empty_database_url))

    assert tables(empty_database_url) == {"push_alembic_version"}
    assert ask(empty_database_url, "SELECT * FROM push_alembic_version") == []


def test_the_models_and_the_migrations_agree_also_when_the_ledger_has_partitions(empty_database_url: str) -> None:
    upgrade_and_add_a_partition(empty_database_url)

    command.check(alembic_config(empty_database_url))  # raises when they differ


def test_a_batch_that_was_in_the_middle_is_still_counted_by_its_rows(empty_database_url: str) -> None:
    command.upgrade(alembic_config(empty_database_url), "0002")
    with closing(psycopg2.connect(empty_database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # its notification and key are of no interest
        cursor.execute(ADD_BATCH)

    upgrade(alembic_config(empty_database_url))

    with closing(psycopg2.connect(empty_database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(ADD_BATCH)
    assert ask(empty_database_url, CLAIMED_BATCHES) == [(False, 1), (True, 1)]


def test_every_foreign_key_whose_parent_can_go_is_served_by_an_index(database_url: str) -> None:
    missing = ask(database_url, FOREIGN_KEYS_WITHOUT_AN_INDEX)

    # Tenants and VAPID keys are retired, never deleted: nobody looks for their children by the key alone.
    unserved = {(table, column) for table, column, parent in missing if parent not in STAYING_PARENTS}
    # The ledger is asked by (planned_at, notification_id), its primary key, and dropped by the month. An index for
    # deleting a single notification would cost every delivery a write.
    assert unserved == {("push_delivery_logs", "notification_id")}


def upgrade(config: Config) -> None:
    command.upgrade(config, "head")


def downgrade(config: Config) -> None:
    command.downgrade(config, "base")


def upgrade_and_add_a_partition(url: str) -> None:
    upgrade(alembic_config(url))
    sessions = create_sessions(url)
    with transaction(sessions) as session:
        ensure_partitions(session, datetime(2024, 5, 1, tzinfo=UTC))
    dispose(sessions)
