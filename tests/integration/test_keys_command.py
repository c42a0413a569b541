"""`python -m app.cli keys`: who depends on each VAPID key, and how an operator makes, retires and restores them."""

import json
import re

import pytest
import typer
from sqlalchemy import delete, select
from typer.testing import CliRunner

from app import cli
from app.db.session import transaction
from app.keyring.service import Keyring
from app.models import DEFAULT_TENANT_ID, Subscription, Tenant, VapidKey
from app.push.keys import VapidKey as KeyPair
from app.workers import foreground
from tests.support.api import SECRET_KEY
from tests.support.keyring import add_subscriptions

OTHER_SECRET_KEY = "another-secret-key-0123456789-0123456789"
CONFIGURED = KeyPair.generate()


@pytest.fixture
def sessions(module_database_url, module_sessions, monkeypatch, tmp_path):
    """Over one database for all of these tests: each begins with no key."""
    monkeypatch.setenv("DATABASE_URL", module_database_url)
    monkeypatch.setenv("SECRET_KEY", SECRET_KEY)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    with transaction(module_sessions) as session:
        for table in (Subscription, VapidKey):
            session.execute(delete(table))
        session.execute(delete(Tenant).where(Tenant.id != DEFAULT_TENANT_ID))
    return module_sessions


@pytest.fixture
def keys(sessions):
    """The configured key and, made later, the active one."""
    keyring = Keyring(SECRET_KEY)
    with transaction(sessions) as session:
        return [keyring.synchronise(session, CONFIGURED), keyring.rotate(session, DEFAULT_TENANT_ID)]


def run(*arguments, stdin=""):
    return CliRunner().invoke(cli.cli, ["keys", *map(str, arguments)], input=stdin)


def states(sessions):
    """Return the state of each key, the newest first, as `status` tells it."""
    return [key["state"] for key in json.loads(run("status", "--json").output)]


def depend(sessions, key, count):
    with transaction(sessions) as session:
        add_subscriptions(session, key.id, count)


def test_status_shows_who_depends_on_each_key(sessions, keys):
    old, new = keys
    depend(sessions, old, 2)

    table, told = run("status"), json.loads(run("status", "--json").output)

    assert table.exit_code == 0, table.output
    [_, active, signing] = [line for line in table.output.splitlines() if " " in line.strip()]
    assert active.split()[:2] == [new.public_key[:16], "active"]
    assert signing.split()[:2] == [old.public_key[:16], "signing"]
    assert signing.split()[4:7] == ["2", "0", "0"]
    assert [key["public_key"] for key in told] == [new.public_key, old.public_key]
    assert [key["active_subscriptions"] for key in told] == [0, 2]
    assert [key["is_configured"] for key in told] == [False, True]


def test_rotating_makes_a_new_active_key_and_says_what_comes_next(sessions, keys):
    result = run("rotate")

    with transaction(sessions) as session:
        active = session.scalars(select(VapidKey).where(VapidKey.is_active)).one()
    assert result.exit_code == 0, result.output
    assert active.public_key in result.output
    assert f"keys retire {keys[1].public_key[:8]}" in result.output
    assert "VAPID_PRIVATE_KEY" in result.output
    assert states(sessions) == ["active", "signing", "signing"]


def test_no_command_shows_a_private_key(sessions, keys):
    old = keys[0].public_key

    outputs = [
        run(*each).output
        for each in (["status"], ["status", "--json"], ["rotate"], ["retire", old], ["restore", old])
    ]

    assert all(outputs)
    with transaction(sessions) as session:
        stored = session.scalars(select(VapidKey)).all()
    privates = [Keyring(SECRET_KEY).open(key).export_private() for key in stored]
    assert not [private for private in privates if any(private in output for output in outputs)]


def test_a_key_that_nobody_depends_on_is_retired_and_restored(sessions, keys):
    name = keys[0].public_key[:6]

    retired, again, retired_states = run("retire", name), run("retire", name), states(sessions)
    restored, once_more = run("restore", name), run("restore", name)

    assert [each.exit_code for each in (retired, again, restored, once_more)] == [0] * 4
    assert f"keys restore {keys[0].public_key[:8]}" in retired.output
    assert "already" in again.output
    assert retired_states == ["active", "retired"]
    assert states(sessions) == ["active", "signing"]
    assert "not retired" in once_more.output


def test_a_key_in_use_is_refused_and_says_how_many_depend_on_it(sessions, keys):
    depend(sessions, keys[0], 2)

    result = run("retire", keys[0].public_key, "--yes")

    assert result.exit_code == 1
    assert "2 subscriptions depend on" in result.stderr
    assert "--force" in result.stderr
    assert states(sessions) == ["active", "signing"]


@pytest.mark.parametrize(
    ("arguments", "answer", "exit_code", "state"),
    [
        (["--force"], "y\n", 0, "retired"),
        (["--force"], "n\n", 1, "signing"),
        (["--force"], "", 1, "signing"),
        (["--force", "--yes"], "", 0, "retired"),
    ],
)
def test_force_says_how_many_are_lost_and_asks(sessions, keys, arguments, answer, exit_code, state):
    depend(sessions, keys[0], 2)

    result = run("retire", keys[0].public_key, *arguments, stdin=answer)

    assert result.exit_code == exit_code
    assert "2 subscriptions" in result.output
    assert states(sessions) == ["active", state]


def test_who_subscribes_while_the_operator_thinks_is_asked_about_too(sessions, keys, monkeypatch):
    depend(sessions, keys[0], 1)
    questions = []

    def answer_after_one_more_has_come(question, *, abort):
        questions.append(question)
        if len(questions) == 1:
            depend(sessions, keys[0], 1)

    monkeypatch.setattr(typer, "confirm", answer_after_one_more_has_come)

    result = run("retire", keys[0].public_key, "--force")

    assert len(questions) == 2
    assert result.output.index("1 subscription depends") < result.output.index("2 subscriptions depend")
    assert states(sessions) == ["active", "retired"]


def test_the_active_key_is_not_retired(sessions, keys):
    result = run("retire", keys[1].public_key, "--force", "--yes")

    assert result.exit_code == 2
    assert "keys rotate" in result.stderr
    assert states(sessions) == ["active", "signing"]


@pytest.mark.parametrize("arguments", [["retire", "BBBBBB"], ["restore", "BB"], ["rotate", "--tenant", "nobody"]])
def test_what_is_not_there_is_told(sessions, keys, arguments):
    result = run(*arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr
    assert states(sessions) == ["active", "signing"]


def test_another_secret_key_makes_no_key_that_the_service_could_not_open(sessions, keys, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", OTHER_SECRET_KEY)

    result = run("rotate")

    assert result.exit_code == 2
    assert "SECRET_KEY" in result.stderr
    assert states(sessions) == ["active", "signing"]


def test_a_tenant_that_is_not_there_gets_no_key(sessions):
    result = run("rotate", "--tenant", "nobody")

    assert result.exit_code == 2
    assert "no tenant with this short name" in result.stderr
    assert states(sessions) == []


@pytest.fixture
def started(monkeypatch):
    """The settings that workers were started with; none of them runs."""
    found: list[object] = []

    def run_workers(settings, count):
        found.append(settings)
        return 0

    monkeypatch.setattr(foreground, "run", run_workers)
    return found


def test_a_lost_secret_key_is_survived_by_doing_what_the_refused_start_says(sessions, keys, started, monkeypatch):
    depend(sessions, keys[1], 2)
    monkeypatch.setenv("SECRET_KEY", OTHER_SECRET_KEY)

    refused = CliRunner().invoke(cli.cli, ["worker"])
    commands = re.findall(r"`python -m app.cli keys ([^`]*)`", refused.output)
    results = [run(*command.split(), "--yes" if "retire" in command else "--force") for command in commands]

    assert len(results) == 2
    assert [result.exit_code for result in results] == [0, 0]
    assert CliRunner().invoke(cli.cli, ["worker"]).exit_code == 0
    assert len(started) == 1


def test_workers_with_another_secret_key_do_not_start(sessions, keys, started, monkeypatch):
    right = CliRunner().invoke(cli.cli, ["worker"])
    monkeypatch.setenv("SECRET_KEY", OTHER_SECRET_KEY)

    wrong = CliRunner().invoke(cli.cli, ["worker"])

    assert (right.exit_code, wrong.exit_code, len(started)) == (0, 1, 1)
    assert "Start with that SECRET_KEY" in wrong.output


def test_each_tenant_has_its_own_keys(sessions, keys):
    with transaction(sessions) as session:
        tenant = Tenant(id=keys[0].id, slug="acme", name="Acme")
        session.add(tenant)

    made = run("rotate", "--tenant", "acme")
    table = run("status").output

    assert made.exit_code == 0, made.output
    assert [line.split()[0] for line in table.splitlines()[3:] if line.strip()] == ["default", "default", "acme"]
