"""The database goes away under the running service and comes back: the service says so, and recovers by itself."""

import httpx
import psycopg2
import pytest
from alembic import command

from tests.support.api import SERVICE_HEADERS, LiveServer, LiveServerFactory
from tests.support.databases import StoppablePostgres, alembic_config, create_database
from tests.support.metric_samples import Samples
from tests.support.waiting import until

HISTORY = "/notifications/history/"


@pytest.fixture
def url(stoppable_postgres: StoppablePostgres) -> str:
    """A migrated database on a server of the test's own."""
    url = create_database(stoppable_postgres.url, "push")
    command.upgrade(alembic_config(url), "head")
    connection = psycopg2.connect(url)
    connection.autocommit = True
    connection.cursor().execute("CHECKPOINT")  # these servers forget their last moments when killed
    connection.close()
    return url


def get(server: LiveServer, path: str) -> httpx.Response:
    return httpx.get(server.url + path, headers=dict(SERVICE_HEADERS), timeout=60)


def database_up(server: LiveServer) -> float | None:
    return Samples(get(server, "/metrics/").text).value("push_database_up")


def test_it_recovers_by_itself_and_says_so(
    stoppable_postgres: StoppablePostgres, url: str, start_server: LiveServerFactory
) -> None:
    server = start_server(DATABASE_URL=url)
    before = (get(server, "/health/"), get(server, HISTORY))

    stoppable_postgres.stop()
    until(lambda: get(server, "/health/").status_code == 503, "health says that the database is down")
    away = {path: get(server, path) for path in ("/health/", "/health/ready", "/health/live", HISTORY)}
    up_while_away = database_up(server)

    stoppable_postgres.start()
    until(lambda: get(server, "/health/").status_code == 200, "health says that the database is back")
    after = {path: get(server, path) for path in ("/health/", "/health/ready", HISTORY)}
    up_afterwards = database_up(server)

    assert [answer.status_code for answer in before] == [200, 200]
    assert away["/health/"].json()["dependencies"]["database"]["status"] == "down"
    assert away["/health/ready"].status_code == 503
    assert away["/health/live"].status_code == 200
    assert away[HISTORY].status_code == 503
    assert away[HISTORY].headers["Content-Type"] == "application/problem+json"
    assert away[HISTORY].headers["Retry-After"]
    assert [answer.status_code for answer in after.values()] == [200, 200, 200]
    assert after["/health/"].json()["status"] == "ok"
    assert (up_while_away, up_afterwards) == (0, 1)
    assert server.process.poll() is None, "the same process, all the time"


def test_a_service_that_starts_before_its_database_serves_once_it_is_there(
    stoppable_postgres: StoppablePostgres, url: str, start_server: LiveServerFactory
) -> None:
    stoppable_postgres.stop()
    server = start_server(DATABASE_URL=url)
    early = [get(server, path).status_code for path in ("/health/", "/health/live", HISTORY)]

    stoppable_postgres.start()
    until(lambda: get(server, "/health/").status_code == 200, "health says that the database is there")

    assert early == [503, 200, 503]
    assert get(server, HISTORY).status_code == 200
