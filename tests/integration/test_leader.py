"""Of several processes over one database one leads, for as long as its connection lives."""

from contextlib import closing

import psycopg2
from sqlalchemy import text

from app.db.session import SessionFactory, create_sessions, transaction
from app.workers.database_gauges import LOCK_KEY
from app.workers.leader import Leader
from tests.support.databases import dispose


def test_one_process_leads_and_another_takes_over_when_it_resigns(
    sessions: SessionFactory, other_process: SessionFactory
) -> None:
    first, second = Leader(LOCK_KEY), Leader(LOCK_KEY)

    assert (first.leads(sessions), second.leads(other_process)) == (True, False)
    assert first.leads(sessions), "it still does"

    first.resign()
    assert (second.leads(other_process), first.leads(sessions)) == (True, False)
    second.resign()


def test_leadership_ends_with_the_leaders_connection(
    sessions: SessionFactory, other_process: SessionFactory, database_url: str
) -> None:
    first, second = Leader(LOCK_KEY), Leader(LOCK_KEY)
    first.leads(sessions)
    with closing(psycopg2.connect(database_url)) as operator, operator.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )

    assert second.leads(other_process)
    assert not first.leads(sessions)
    second.resign()


def test_a_leader_holds_no_connection_of_the_pool(database_url: str) -> None:
    tiny = create_sessions(database_url, pool_size=1, max_overflow=0)
    leader = Leader(LOCK_KEY)

    assert leader.leads(tiny)

    with transaction(tiny) as session:
        assert session.scalar(text("SELECT 1")) == 1
    leader.resign()
    dispose(tiny)
