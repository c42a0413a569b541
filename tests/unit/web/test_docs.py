import re

import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient

from app.web import docs
from tests.unit.web.conftest import EdgeFactory


@pytest.fixture
def client(edge: EdgeFactory) -> TestClient:
    return edge(APIRouter())


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
def test_the_page_loads_everything_from_here(client: TestClient, path: str) -> None:
    page = client.get(path)

    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert addresses
    assert {client.get(address).status_code for address in addresses} == {200}
    assert all(address.startswith("/") for address in addresses)


def test_scripts_are_scripts_to_a_browser_that_is_told_not_to_guess(client: TestClient) -> None:
    for script in ("swagger-ui-bundle.js", "start.js"):
        answer = client.get(f"/docs/{script}")

        assert answer.headers["content-type"].startswith("text/javascript")
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/docs", "/docs/swagger-ui-bundle.js"])
def test_nothing_from_elsewhere_and_nothing_inline_may_run(client: TestClient, path: str) -> None:
    policy = client.get(path).headers["content-security-policy"]

    assert policy.startswith("default-src 'self'; img-src 'self' data:;")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_start_js_names_the_document_that_is_there(client: TestClient) -> None:
    address = re.search(r'url: "([^"]+)"', client.get("/docs/start.js").text)

    assert address is not None
    assert client.get(address[1]).json()["openapi"].startswith("3.")


@pytest.mark.parametrize("name", ["core.py", "..%2fcore.py", "redoc.standalone.js", "index.html"])
def test_no_other_file_is_served(client: TestClient, name: str) -> None:
    answer = client.get(f"/docs/{name}")

    assert answer.status_code == 404


def test_without_the_package_there_is_no_page(edge: EdgeFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs, "PACKAGE", "a_package_that_is_not_installed")
    client = edge(APIRouter())

    assert client.get("/docs").status_code == 404
    assert client.get("/docs/start.js").status_code == 404
    assert client.get("/openapi.json").status_code == 200
