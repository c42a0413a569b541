"""What the commands ask of the parts they start, and what people read when that cannot be."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from alembic import command
from typer.testing import CliRunner, Result

from app import cli, simulator
from app.db import embedded
from app.db.embedded import EmbeddedPostgresUnavailable
from app.demo import showcase
from app.web.http_protocol import BoundedHttp
from app.workers import foreground
from app.workers.cores import default_worker_count

NOWHERE = "postgresql://push:a-password@127.0.0.1:1/push"  # where nothing listens
PRODUCTION = {
    "ENVIRONMENT": "production",
    "DATABASE_URL": NOWHERE,
    "SECRET_KEY": "a-secret-nobody-may-see-0123456789-0123",
    "API_KEY": "an-api-key-nobody-may-see",
    "JWT_SECRET_KEY": "a-jwt-secret-nobody-may-see-0123456789",
    "VAPID_SUBJECT": "mailto:push@example.org",
}


class Starts:
    """Notes what a command starts instead of starting it: the server, and migrations."""

    def __init__(self) -> None:
        self.served: list[dict[str, Any]] = []
        self.migrated: list[str] = []

    def serve(self, app: str, **options: Any) -> None:
        self.served.append({"app": app, **options})

    def upgrade(self, config: Any, revision: str) -> None:
        self.migrated.append(f"{config.attributes['database_url']} {revision}")


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Starts:
    starts = Starts()
    monkeypatch.setattr(uvicorn, "run", starts.serve)
    monkeypatch.setattr(command, "upgrade", starts.upgrade)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("DATABASE_URL", NOWHERE)
    return starts


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def run(*arguments: str | int) -> Result:
    return CliRunner().invoke(cli.cli, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def test_without_a_command_the_commands_are_listed() -> None:
    result = run()

    assert all(name in result.output for name in ("serve", "worker", "simulate", "demo"))


def test_serve_migrates_and_then_serves_the_app(starts: Starts, free_port: int) -> None:
    result = run("serve", "--port", free_port)

    assert result.exit_code == 0, result.output
    assert starts.migrated == [f"{NOWHERE} head"]
    [served] = starts.served
    assert (served["app"], served["host"], served["port"]) == ("app.main:app", "127.0.0.1", free_port)


def test_forwarded_addresses_are_left_to_the_app_which_knows_the_trusted_proxies(
    starts: Starts, free_port: int
) -> None:
    run("serve", "--port", free_port)

    assert starts.served[0]["proxy_headers"] is False


def test_serve_bounds_what_a_client_may_send(starts: Starts, free_port: int) -> None:
    run("serve", "--port", free_port)

    assert starts.served[0]["http"] is BoundedHttp


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "localhost"), ("0.0.0.0", "localhost"), ("127.0.0.2", "127.0.0.2")]
)
def test_serve_says_where_to_look(starts: Starts, free_port: int, host: str, shown: str) -> None:
    result = run("serve", "--host", host, "--port", free_port)

    for path in ("/demo", "/docs", "/health/"):
        assert f"http://{shown}:{free_port}{path}\n" in result.output


def test_serve_says_where_the_generated_key_is_and_not_what_it_is(
    starts: Starts, free_port: int, tmp_path: Path
) -> None:
    result = run("serve", "--port", free_port)

    key_file = tmp_path / "data" / "api-key"
    assert f"in {key_file}\n" in result.output
    assert key_file.read_text().strip() not in result.output


def test_serve_says_when_the_key_is_ones_own(
    starts: Starts, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("serve", "--port", free_port)  # generates one
    monkeypatch.setenv("API_KEY", "one-of-my-own-0123")

    result = run("serve", "--port", free_port)

    assert "that of API_KEY\n" in result.output
    assert "one-of-my-own-0123" not in result.output


def test_serve_says_which_database_it_uses_without_its_password(
    starts: Starts, free_port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = run("serve", "--port", free_port).output
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setattr(embedded, "database_url", lambda _data_dir: NOWHERE)
    own = run("serve", "--port", free_port).output

    assert "that of DATABASE_URL\n" in given
    assert f"embedded, in {tmp_path / 'data' / 'postgres'}\n" in own
    assert "a-password" not in given + own


@pytest.mark.parametrize(("option", "migrations"), [([], []), (["--migrate"], [f"{NOWHERE} head"])])
def test_production_migrates_only_when_told_to_and_says_nothing(
    starts: Starts, free_port: int, monkeypatch: pytest.MonkeyPatch, option: list[str], migrations: list[str]
) -> None:
    for name, value in PRODUCTION.items():
        monkeypatch.setenv(name, value)

    result = run("serve", "--port", free_port, *option)

    assert (result.exit_code, result.output) == (0, "")
    assert starts.migrated == migrations
    assert len(starts.served) == 1


def test_a_taken_port_is_told_before_anything_is_started(starts: Starts, taken_port: int) -> None:
    result = run("serve", "--port", taken_port)

    assert result.exit_code == 1
    assert f"Port {taken_port} is taken." in result.output
    assert f"make run PORT={taken_port + 1}" in result.output
    assert (starts.migrated, starts.served) == ([], [])


def test_an_address_of_another_machine_is_told(starts: Starts, free_port: int) -> None:
    result = run("serve", "--host", "192.0.2.1", "--port", free_port)

    assert result.exit_code == 1
    assert result.output.startswith(f"Cannot listen on 192.0.2.1, port {free_port}: ")
    assert starts.served == []


def test_a_wrong_configuration_is_told_in_a_line_for_each_fault(
    starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://root@db/push")
    monkeypatch.setenv("RATE_LIMIT_ANALYTICS", "often")

    result = run("serve")

    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "The configuration cannot be used.",
        "DATABASE_URL: must be a postgresql:// URL",
        "RATE_LIMIT_ANALYTICS: must look like 100/hour, 10/minute or 5/second",
    ]


def test_an_unsafe_production_is_told_as_a_list(starts: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")

    result = run("serve")

    assert result.exit_code == 1
    assert result.output.splitlines()[:2] == ["The configuration cannot be used.", "Not safe for production:"]
    assert all(line.startswith("- ") for line in result.output.splitlines()[2:])


def test_a_data_directory_that_cannot_be_made_is_told(
    starts: Starts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "file" / "data"))

    result = run("serve")

    assert result.exit_code == 1
    assert "DATA_DIR" in result.output
    assert "Traceback" not in result.output


def test_a_database_that_is_away_is_told_without_its_password(
    free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", NOWHERE)

    result = run("serve", "--port", free_port)

    assert result.exit_code == 1
    assert result.output.startswith("The database's schema cannot be brought up to date: ")
    assert "Connection refused" in result.output
    assert "a-password" not in result.output


def test_an_embedded_postgresql_that_cannot_start_is_told(
    starts: Starts, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_data_dir: Path) -> str:
        raise EmbeddedPostgresUnavailable("the disk is full.")

    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setattr(embedded, "database_url", refuse)

    result = run("serve", "--port", free_port)

    assert result.exit_code == 1
    assert "the disk is full." in result.output
    assert "DATABASE_URL" in result.output  # the way out
    assert starts.served == []


def test_simulate_says_how_the_service_comes_to_trust_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def serve(host: str, port: int, *, tls: bool, ca_dir: Path, ready: Any) -> None:
        ready(simulator.Serving(f"https://{host}:{port}", f"https://{host}:{port}/_control", ca_dir / "ca.pem"))

    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setattr(simulator, "serve", serve)

    result = run("simulate")

    assert result.exit_code == 0, result.output
    assert "https://127.0.0.1:8443/fcm/" in result.output
    assert f"PUSH_ALLOW_LOOPBACK=true PUSH_CA_FILE={tmp_path}/simulator/ca.pem" in result.output


def test_simulate_on_a_taken_port_says_so(taken_port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))

    result = run("simulate", "--port", taken_port)

    assert result.exit_code == 1
    assert result.output == f"The simulator cannot listen on 127.0.0.1:{taken_port}: Address already in use.\n"


@pytest.mark.parametrize(("options", "count"), [(["--processes", 3], 3), ([], default_worker_count())])
def test_worker_runs_as_many_processes_as_asked_for(
    starts: Starts, monkeypatch: pytest.MonkeyPatch, options: list[str | int], count: int
) -> None:
    monkeypatch.setattr(foreground, "run", lambda _settings, processes: {count: 0}[processes])

    assert run("worker", *options).exit_code == 0


def test_worker_tells_a_wrong_configuration_and_does_not_start(
    starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreground, "run", lambda _settings, _count: pytest.fail("it started"))
    monkeypatch.setenv("DATABASE_URL", "mysql://root@db/push")

    result = run("worker")

    assert result.exit_code == 1
    assert result.output.splitlines()[1:] == ["DATABASE_URL: must be a postgresql:// URL"]


@pytest.mark.parametrize("exit_code", [0, 1])
def test_the_demo_ends_as_the_show_did(monkeypatch: pytest.MonkeyPatch, exit_code: int) -> None:
    monkeypatch.setattr(showcase, "run", {7: exit_code}.__getitem__)

    result = run("demo", "--browsers", 7)

    assert result.exit_code == exit_code


@pytest.mark.parametrize("count", [3, 1001, "many"])
def test_the_demo_refuses_what_would_show_nothing_or_take_long(
    monkeypatch: pytest.MonkeyPatch, count: int | str
) -> None:
    monkeypatch.setattr(showcase, "run", lambda _count: pytest.fail("it ran"))

    assert run("demo", "--browsers", count).exit_code == 2
