import socket

import psycopg2
import pytest
from sqlalchemy import text

from app.db.session import SessionFactory, create_sessions, transaction
from tests.support.databases import dispose


def test_transactions_are_read_committed_whatever_the_shared_database_has_as_its_default(database_url: str) -> None:
    with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:
        name = connection.info.dbname
        cursor.execute(f'ALTER DATABASE "{name}" SET default_transaction_isolation TO serializable')
    connection.close()
    sessions = create_sessions(database_url)

    with transaction(sessions) as session:
        level = session.scalar(text("SHOW transaction_isolation"))

    dispose(sessions)
    assert level == "read committed"


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="needs TCP_USER_TIMEOUT")
def test_a_server_that_vanished_without_a_word_is_noticed_within_a_minute(sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        driver_connection = session.connection().connection.dbapi_connection
        assert isinstance(driver_connection, psycopg2.extensions.connection)
        with socket.socket(fileno=driver_connection.fileno()) as link:
            unanswered_ms = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            idle, interval, count = (
                link.getsockopt(socket.IPPROTO_TCP, option)
                for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            )
            link.detach()

    assert 0 < unanswered_ms <= 60_000
    assert idle + interval * count <= 60
