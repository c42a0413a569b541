"""The life of an embedded PostgreSQL: who starts it, who keeps it, and what it survives."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from app.db.embedded_files import is_locked
from tests.support.embedded_clients import Place, Runner, answers, first_line, open_directory, query, started_at
from tests.support.embedded_copies import copy_of_the_data
from tests.support.waiting import until

FORK_AND_EXIT = """
import os, pathlib, sys
from app.db.embedded import database_url
url = database_url(pathlib.Path(sys.argv[1]), grace_seconds=0)
if os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
print(url, flush=True)
"""


@pytest.fixture
def place(initialised_data_dir: Path) -> Iterator[Place]:
    """A data directory of the test's own, with a database in which `kept` has a row."""
    with open_directory() as directory:
        place = Place(copy_of_the_data(initialised_data_dir, directory / "data"), Runner())
        yield place
        place.clear()


def test_a_second_process_gets_the_server_of_the_first(place: Place) -> None:
    first, second = place.client(), place.client()

    assert first.url == second.url
    assert answers(second.url)


def test_starters_of_the_same_moment_agree(place: Place) -> None:
    clients = [place.client() for _ in range(6)]

    urls = {client.url for client in clients}

    assert len(urls) == 1
    assert (place.home / "keeper.log").read_text().count("ready") == 2  # one more than in the copy


def test_its_data_and_its_port_are_kept(place: Place) -> None:
    url = place.client().url
    place.clear_clients()
    place.wait_until_stopped()

    again = place.client().url

    assert again == url
    assert query(again, "SELECT answer FROM kept") == 42


def test_the_password_is_needed_and_private(place: Place) -> None:
    url = place.client().url
    password = (place.data_dir / "postgres" / "password").read_text().strip()

    assert password in url
    assert (place.data_dir / "postgres" / "password").stat().st_mode & 0o777 == 0o600
    assert not answers(url.replace(password, "guessed"))
    assert query(url, "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'") == 0


def test_it_listens_on_loopback_in_utc_and_utf8(place: Place) -> None:
    url = place.client().url

    assert query(url, "SHOW listen_addresses") == "127.0.0.1"
    assert query(url, "SHOW timezone") == "UTC"
    assert query(url, "SHOW server_encoding") == "UTF8"


def test_its_log_holds_no_rows(place: Place) -> None:
    url = place.client().url
    with pytest.raises(psycopg2.DataError):
        query(url, "SELECT 'https://push.example/secret'::int")

    place.clear_clients()
    place.wait_until_stopped()

    assert "secret" not in (place.home / "postgres.log").read_text()


def test_it_outlives_the_process_that_started_it(place: Place) -> None:
    first = place.client()
    start = started_at(first.url)
    second = place.client()
    assert second.url

    first.leave()

    assert started_at(second.url) == start


def test_it_stops_with_its_last_client(place: Place) -> None:
    client = place.client()
    url = client.url

    client.leave()
    place.wait_until_stopped()

    assert not answers(url)


def test_a_killed_client_counts_as_gone(place: Place) -> None:
    client = place.client()
    assert client.url

    client.kill(signal.SIGKILL)

    place.wait_until_stopped()


def test_a_gap_between_clients_does_not_restart_it(place: Place) -> None:
    migration = place.client(grace_seconds=600)
    start = started_at(migration.url)
    migration.leave()

    service = place.client()

    assert started_at(service.url) == start
    os.kill(place.keeper_pid, signal.SIGTERM)  # nobody wants to wait for that here


def test_a_forked_child_stays_a_client(place: Place) -> None:
    parent = place.runner.popen(FORK_AND_EXIT, place.data_dir)
    url = first_line(parent)
    parent.wait()
    other = place.client()
    assert other.url == url
    other.leave()

    assert is_locked(place.home / "clients.lock")
    assert answers(url)
    parent.communicate()


def test_an_interrupt_at_the_terminal_ends_only_the_client(place: Place) -> None:
    interrupted, other = place.client(), place.client()
    start = started_at(interrupted.url)
    assert other.url

    interrupted.kill(signal.SIGINT)

    assert started_at(other.url) == start


def test_a_killed_server_comes_back_at_the_same_address(place: Place) -> None:
    url = place.client().url
    start = started_at(url)

    os.kill(place.server_pid, signal.SIGKILL)

    until(lambda: answers(url), "the keeper starts it again")
    assert started_at(url) > start
    assert query(url, "SELECT answer FROM kept") == 42


def test_a_server_whose_keeper_was_killed_is_adopted(place: Place) -> None:
    first = place.client()
    start = started_at(first.url)
    os.kill(place.keeper_pid, signal.SIGKILL)
    until(lambda: not is_locked(place.home / "keeper.lock"), "the keeper is gone")

    second = place.client()

    assert second.url == first.url
    assert started_at(second.url) == start
    first.leave()
    second.leave()
    place.wait_until_stopped()


def test_everything_killed_at_once_recovers_at_the_next_start(place: Place) -> None:
    client = place.client()
    query(client.url, "INSERT INTO kept VALUES (43)")
    os.kill(place.keeper_pid, signal.SIGKILL)
    os.kill(place.server_pid, signal.SIGKILL)
    client.kill(signal.SIGKILL)

    url = place.client().url

    assert query(url, "SELECT sum(answer) FROM kept") == 85


def test_a_pid_file_that_names_a_living_stranger_is_not_believed(place: Place) -> None:
    with subprocess.Popen(["sleep", "300"], user=place.cluster_owner) as stranger:
        pid_file = place.home / "cluster" / "postmaster.pid"
        pid_file.write_text(f"{stranger.pid}\n{place.home / 'cluster'}\n1700000000\n1\n\n127.0.0.1\n 1 1\nready\n")

        url = place.client().url

        assert answers(url)
        assert stranger.poll() is None
        stranger.kill()


def test_a_port_taken_meanwhile_is_replaced(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (place.home / "port").write_text(f"{port}\n")

        url = place.client().url

        assert f":{port}/" not in url
        assert answers(url)


def test_a_server_whose_directory_is_taken_away_ends(place: Place) -> None:
    url = place.client().url

    place.home.rename(place.data_dir / "taken-away")

    until(lambda: not answers(url), "the server ends")
    again = place.client().url
    assert answers(again)
