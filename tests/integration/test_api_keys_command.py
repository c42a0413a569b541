"""`python -m app.cli api-keys`: a key is shown once, rotated with two at a time, and revoked."""

import json
from itertools import chain

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from app import cli, cli_api_keys
from app.db.session import transaction
from app.models import ApiKey
from app.tenants.live_keys import live_keys
from tests.support.ledger import add_tenant


@pytest.fixture(autouse=True)
def environment(database_url, tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))


def run(*arguments, answer=None):
    return CliRunner().invoke(cli.cli, ["api-keys", *arguments], input=answer, env={"COLUMNS": "200"})


def listed():
    return json.loads(run("list", "--json").stdout)


def test_a_key_is_shown_once_and_only_its_hash_is_stored(sessions):
    made = run(
        "create", "blog", "--scope", "manage", "--scope", "read", "--network", "10.0.0.7", "--network", "fd00::/8"
    )
    key = made.stdout.strip()

    assert made.exit_code == 0, made.output
    assert key.startswith("pns_")
    assert len(key) == 47
    assert made.stderr == "The key of blog (scopes: read, manage). It is never shown again:\n"
    [shown] = listed()
    assert (shown["name"], shown["tenant"], shown["prefix"]) == ("blog", "default", key[:12])
    assert shown["scopes"] == ["read", "manage"]
    assert shown["networks"] == ["10.0.0.7/32", "fd00::/8"]
    assert (shown["last_used_at"], shown["revoked_at"]) == (None, None)
    with transaction(sessions) as session:
        row = session.scalars(select(ApiKey)).one()
        stored = [str(getattr(row, column.key)) for column in ApiKey.__table__.columns]
    assert not any(key[12:] in each for each in [*stored, run("list").stdout])


def test_a_key_is_for_sending_and_reading_unless_said_otherwise(sessions):
    run("create", "blog")

    assert listed()[0]["scopes"] == ["send", "read"]
    assert "Default: send and read." in run("create", "--help").stdout


def test_two_keys_of_a_name_may_live_and_a_third_is_refused_with_what_to_do(sessions):
    first, second = (run("create", "blog").stdout.strip() for _ in range(2))

    third = run("create", "blog")
    other = run("create", "shop")
    revoked = run("revoke", first[:9], "--yes")
    after = run("create", "blog")

    assert (third.exit_code, third.stdout) == (2, "")
    assert f"The keys {first[:12]} and {second[:12]} of blog live." in third.stderr
    assert "revoke the other: python -m app.cli api-keys revoke" in third.stderr
    assert (other.exit_code, revoked.exit_code, after.exit_code) == (0, 0, 0)


def test_names_are_each_tenants_own(sessions):
    with transaction(sessions) as session:
        add_tenant(session, "shop")

    made = [run("create", "blog", "--tenant", tenant).exit_code for tenant in ("default", "shop") * 2]

    assert made == [0] * 4
    assert [key["tenant"] for key in listed()] == ["default", "default", "shop", "shop"]
    assert "shop" in run("list").stdout


def test_what_makes_no_key_is_refused(sessions):
    networks = chain.from_iterable(["--network", f"10.0.0.{i}"] for i in range(101))
    complaints = {
        ("blog", "--scope", "admin"): "'admin' is not one of",
        ("blog", "--network", "10.0.0.0/33"): "no address or network",
        ("blog", "--network", "::ffff:10.0.0.0/104"): "Write it as IPv4",
        ("blog", "--network", "example.com"): "no address or network",
        ("blog", *networks): "100 networks",
        ("blog", "--tenant", "nobody"): "no tenant with this short name",
        ("blog", "--tenant", "No Body"): "no tenant with this short name",
        ("  ",): "1 to 100 printable characters",
        ("b" * 101,): "1 to 100 printable characters",
        ("two\nlines",): "printable characters",
        ("\udcff",): "valid Unicode",
    }

    results = {arguments: run("create", *arguments) for arguments in complaints}

    assert {(result.exit_code, result.stdout) for result in results.values()} == {(2, "")}
    assert not [case for case, complaint in complaints.items() if complaint not in results[case].stderr]
    with transaction(sessions) as session:
        assert not live_keys(session)


def test_a_key_is_revoked_by_its_beginning_its_id_or_itself(sessions):
    keys = [run("create", name).stdout.strip() for name in ("a", "b", "c")]
    by_name = {key["name"]: key["id"] for key in listed()}

    results = [run("revoke", named, "--yes") for named in (f"{keys[0][:12]}…", by_name["b"], keys[2])]

    assert [result.exit_code for result in results] == [0, 0, 0]
    assert "nobody takes it after 5 s" in results[0].stdout
    assert keys[2] not in results[2].output
    assert all(key["revoked_at"] for key in listed())
    assert "was revoked already" in run("revoke", keys[0][:12]).stdout


def test_what_names_no_key_revokes_none(sessions):
    run("create", "blog")
    an_id = "00000000-0000-7000-8000-000000000001"

    refused = [
        run("revoke", named, "--yes") for named in ("", "p", "pns", "pns_unknown", "%", "_", an_id, "\udcff")
    ]

    assert {result.exit_code for result in refused} == {2}
    assert all("No key begins so" in result.stderr for result in refused)
    assert listed()[0]["revoked_at"] is None


def test_what_names_two_keys_revokes_none(sessions):
    keys = [run("create", "blog").stdout.strip() for _ in range(2)]

    refused = run("revoke", "pns_", "--yes")

    assert refused.exit_code == 2
    assert f"2 keys begin so: {keys[0][:12]}, {keys[1][:12]}" in refused.stderr


def test_before_it_revokes_it_asks(sessions, monkeypatch):
    key = run("create", "blog").stdout.strip()[:12]

    without_terminal = run("revoke", key)
    monkeypatch.setattr(cli_api_keys, "is_terminal", lambda: True)
    declined = run("revoke", key, answer="n\n")
    was_live = listed()[0]["revoked_at"] is None
    confirmed = run("revoke", key, answer="y\n")

    assert without_terminal.exit_code == 2
    assert f"{key} of blog, never used. There is no terminal to ask on: say --yes." in without_terminal.stderr
    assert declined.exit_code == 1
    assert was_live
    assert confirmed.exit_code == 0
    assert listed()[0]["revoked_at"] is not None


def test_without_any_key_the_list_says_how_to_make_one(sessions):
    assert "api-keys create" in run("list").stdout
    assert listed() == []
