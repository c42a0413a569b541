"""`python -m app.cli tenants`: audiences apart, with a VAPID key each, and issuers of their own for tokens."""

import json

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from typer.testing import CliRunner

from app import cli
from app.db.session import transaction
from app.main import create_app
from app.models import Tenant, VapidKey
from tests.support.api import SECRET_KEY, bearer, make_token
from tests.support.signing import key_pair

SHOP = "https://shop.example"


@pytest.fixture(autouse=True)
def environment(database_url, tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SECRET_KEY", SECRET_KEY)
    monkeypatch.setenv("JWT_ISSUER", "https://blog.example")


@pytest.fixture
def key_file(tmp_path):
    """Writes PEM into a file, and gives its path."""

    def write(*pems, name="keys.pem"):
        (tmp_path / name).write_text("".join(pems))
        return str(tmp_path / name)

    return write


def run(*arguments):
    return CliRunner().invoke(cli.cli, ["tenants", *arguments], env={"COLUMNS": "200"})


def listed():
    return {tenant["slug"]: tenant for tenant in json.loads(run("list", "--json").stdout)}


def test_a_new_tenant_has_a_vapid_key_of_its_own(sessions, settings):
    made = run("create", "shop", "--name", "The [red]Shop")

    assert made.exit_code == 0, made.output
    assert listed()["shop"]["name"] == "The [red]Shop"
    assert "The [red]Shop" in run("list").stdout
    with transaction(sessions) as session:
        of_shop = select(VapidKey).join(Tenant, Tenant.id == VapidKey.tenant_id).where(Tenant.slug == "shop")
        key = session.scalars(of_shop.where(VapidKey.is_active)).one()
    with TestClient(create_app(settings)) as client:
        assert client.get("/vapid/public-key?tenant=shop").json() == {"public_key": key.public_key}


def test_tokens_of_a_registered_issuer_belong_to_its_tenant(client, key_file):
    private, public = key_pair("RSA")
    token = make_token(iss=SHOP, user_id="1", secret=private, algorithm="RS384")
    before = client.get("/subscriptions/00000000-0000-7000-8000-000000000001/", headers=bearer(token))

    made = run("create", "shop", "--issuer", SHOP, "--public-key-file", key_file(public))

    assert made.exit_code == 0, made.output
    assert before.status_code == 401
    with TestClient(create_app(client.app.state.settings)) as another_process:
        after = another_process.get("/subscriptions/00000000-0000-7000-8000-000000000001/", headers=bearer(token))
    assert after.status_code == 404
    assert (listed()["shop"]["issuer"], listed()["shop"]["public_keys"]) == (SHOP, ["RSA"])


def test_an_issuers_keys_are_rotated_with_an_overlap_and_taken_away(key_file):
    old, new = key_pair("RSA")[1], key_pair("P-256")[1]
    run("create", "shop", "--issuer", SHOP, "--public-key-file", key_file(old))

    both = run("change", "shop", "--public-key-file", key_file(old, new))
    kinds_of_both = listed()["shop"]["public_keys"]
    renamed = run("change", "shop", "--issuer", "shop", "--name", "Shop")
    after = listed()["shop"]
    ended = run("change", "shop", "--no-issuer")

    assert [result.exit_code for result in (both, renamed, ended)] == [0, 0, 0]
    assert "within 5 s" in both.stdout
    assert kinds_of_both == ["RSA", "secp256r1"]
    assert (after["name"], after["issuer"], after["public_keys"]) == ("Shop", "shop", kinds_of_both)
    assert (listed()["shop"]["issuer"], listed()["shop"]["public_keys"]) == (None, [])


def test_what_makes_no_tenant_is_refused(key_file, tmp_path):
    private, public = key_pair("RSA")
    good = key_file(public)
    run("create", "shop", "--issuer", SHOP, "--public-key-file", good)
    complaints = {
        ("shop",): "There is a tenant shop already",
        ("default",): "There is a tenant default already",
        ("",): "A short name has",
        ("Shop",): "A short name has",
        ("shop-",): "A short name has",
        ("shop\n",): "A short name has",
        ("s" * 64,): "A short name has",
        ("new", "--name", " "): "The name must have",
        ("new", "--name", "\udcff"): "valid Unicode",
        ("new", "--issuer", SHOP): "belong together",
        ("new", "--public-key-file", good): "belong together",
        ("new", "--issuer", SHOP, "--public-key-file", good): "registered for the tenant shop",
        ("new", "--issuer", "https://blog.example", "--public-key-file", good): "This is JWT_ISSUER",
        ("new", "--issuer", "", "--public-key-file", good): "The issuer must have",
        ("new", "--issuer", "x", "--public-key-file", str(tmp_path / "none")): "No such file",
        ("new", "--issuer", "x", "--public-key-file", key_file("ü", name="a")): "not a public key in PEM",
        ("new", "--issuer", "x", "--public-key-file", key_file(private, name="b")): "holds a private key",
        ("new", "--issuer", "x", "--public-key-file", key_file(key_pair("RSA-1024")[1], name="c")): "of 1024 bits",
    }

    results = {arguments: run("create", *arguments) for arguments in complaints}

    assert {result.exit_code for result in results.values()} == {2}
    assert not [case for case, complaint in complaints.items() if complaint not in results[case].stderr]
    assert set(listed()) == {"default", "shop"}


def test_changes_that_make_no_sense_are_refused(key_file):
    good = key_file(key_pair("RSA")[1])
    run("create", "shop")
    run("create", "news", "--issuer", "news", "--public-key-file", good)
    complaints = {
        ("nobody", "--name", "x"): "no tenant with this short name",
        ("shop",): "Say what to change",
        ("news", "--issuer", ""): "The issuer must have",  # who means --no-issuer must not think it done
        ("news", "--no-issuer", "--issuer", ""): "Give --no-issuer, or",
        ("shop", "--no-issuer", "--issuer", "x"): "Give --no-issuer, or",
        ("shop", "--issuer", "x"): "belong together",
        ("shop", "--public-key-file", good): "belong together",
        ("default", "--issuer", "https://blog.example", "--public-key-file", good): "This is JWT_ISSUER",
    }

    results = {arguments: run("change", *arguments) for arguments in complaints}

    assert {result.exit_code for result in results.values()} == {2}
    assert not [case for case, complaint in complaints.items() if complaint not in results[case].stderr]


def test_a_tenant_is_not_made_under_another_secret_key_than_the_service_has(client, monkeypatch):
    assert client.get("/vapid/public-key").status_code == 200
    monkeypatch.setenv("SECRET_KEY", "another-secret-key-0123456789-0123456789")

    refused = run("create", "shop")

    assert refused.exit_code == 2
    assert "SECRET_KEY" in refused.stderr
    assert set(listed()) == {"default"}
