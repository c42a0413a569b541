"""What pages of any origin may call, whatever CORS_ALLOWED_ORIGINS says; the rest stays as it says."""

import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from app.receipts.router import MAX_BODY_BYTES
from tests.unit.web.conftest import EdgeFactory

PAGE, ANOTHER_PAGE = "https://blog.example.com", "https://shop.example.com"
ASKED = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}


@pytest.fixture(params=[[], [PAGE]], ids=["no page is listed", "another page is listed"])
def client(request: pytest.FixtureRequest, edge: EdgeFactory) -> TestClient:
    return edge(APIRouter(), cors_allowed_origins=request.param)


@pytest.mark.parametrize("path", ["/receipts/", "/receipts"])
def test_receipts_are_open_to_every_page(client: TestClient, path: str) -> None:
    preflight = client.options(path, headers={"Origin": ANOTHER_PAGE, **ASKED})
    refusal = client.post(path, content=b" " * (MAX_BODY_BYTES + 1), headers={"Origin": ANOTHER_PAGE})

    assert (preflight.status_code, refusal.status_code) == (204, 413)
    for answer in (preflight, refusal):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/subscriptions/", "/receipts//", "/receipts/x/", "/Receipts/"])
def test_nothing_else_is(client: TestClient, path: str) -> None:
    preflight = client.options(path, headers={"Origin": ANOTHER_PAGE, **ASKED})
    refusal = client.post(path, content=b"{", headers={"Origin": ANOTHER_PAGE})

    for answer in (preflight, refusal):
        assert "access-control-allow-origin" not in answer.headers


def test_what_is_refused_leaves_a_line_in_the_log(client: TestClient) -> None:
    """What is taken leaves none: there are a thousand a second."""
    with capture_logs() as logs:
        client.options("/receipts/", headers={"Origin": PAGE})
        client.post("/receipts/", content=b"x" * (MAX_BODY_BYTES + 1))

    taken, refused = (line for line in logs if line["event"] == "request")
    assert (taken["status"], taken["log_level"]) == (204, "debug")
    assert (refused["status"], refused["log_level"], refused["route"]) == (413, "info", "/receipts/")
