"""The demo's routes: what browsers need of them, and what the token says."""

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.demo import router as demo
from app.settings import Settings
from app.web import problems
from app.web.middleware import middleware
from app.web.tokens import TokenVerifier

SECRET = "a secret of the tests, long enough for HS256"
FILES = [path.name for path in Path(demo.__file__).parent.joinpath("static").iterdir()]


def client_with(tmp_path: Path, **settings: Any) -> TestClient:
    values = Settings(_env_file=None, data_dir=tmp_path, jwt_secret_key=SECRET, **settings)
    app = FastAPI(middleware=middleware(values))
    app.state.settings = values
    app.include_router(demo.router)
    problems.install(app)
    return TestClient(app)


def verifier_of(client) -> TokenVerifier:
    """Return what checks the tokens of this client's service."""
    return TokenVerifier(client.app.state.settings)


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    return client_with(tmp_path)


@pytest.mark.parametrize("path", ["/demo", "/demo/"])
def test_the_page_answers_with_and_without_the_slash(client: TestClient, path: str) -> None:
    answer = client.get(path, follow_redirects=False)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_the_address_alone_leads_to_the_page(client: TestClient) -> None:
    answer = client.get("/", follow_redirects=False)

    assert answer.status_code == 307
    assert answer.headers["location"] == "/demo"


def test_the_page_may_load_nothing_from_elsewhere_and_run_nothing_inline(client: TestClient) -> None:
    answer = client.get("/demo")

    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert " style=" not in answer.text
    assert " onclick=" not in answer.text


def test_the_page_names_only_files_that_exist(client: TestClient) -> None:
    page = client.get("/demo").text

    named = [name for name in FILES if f"/demo/{name}" in page]

    assert page.count('"/demo/') == sum(page.count(f'"/demo/{name}"') for name in named)
    assert all(client.get(f"/demo/{name}").status_code == 200 for name in named)


def test_the_service_worker_may_control_the_page_without_a_slash(client: TestClient) -> None:
    answer = client.get("/demo/service-worker.js")

    assert answer.headers["service-worker-allowed"] == "/demo"
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", ["nothing.js", "router.py", "..%2Frouter.py", "%2Fetc%2Fpasswd"])
def test_no_other_file_is_served(client: TestClient, name: str) -> None:
    answer = client.get(f"/demo/{name}")

    assert answer.status_code == 404


def test_the_token_is_one_that_the_service_accepts(client: TestClient) -> None:
    verifier = verifier_of(client)

    users = {verifier.user_of(client.post("/demo/token").json()["token"]) for _ in range(2)}

    assert len(users) == 2
    assert all(user is not None and user.startswith("demo-") for user in users)


def test_the_token_carries_the_issuer_and_audience_that_the_settings_ask_for(tmp_path: Path) -> None:
    client = client_with(tmp_path, jwt_issuer="https://example.org", jwt_audience="push")
    verifier = verifier_of(client)

    token = client.post("/demo/token").json()["token"]

    assert verifier.user_of(token) is not None


def test_without_a_shared_secret_the_token_is_refused_with_the_reason(tmp_path: Path) -> None:
    client = client_with(tmp_path, jwt_algorithms="RS256")

    answer = client.post("/demo/token")

    assert answer.status_code == 503
    assert answer.json()["type"] == "/problems/no-demo-token"
    assert "JWT_ALGORITHMS" in answer.json()["detail"]
