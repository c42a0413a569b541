import pytest
from fastapi.testclient import TestClient

from app.web.pagination import MAX_PAGE, PageDep
from app.web.routing import api_router
from tests.unit.web.conftest import EdgeFactory


@pytest.fixture
def client(edge: EdgeFactory) -> TestClient:
    router = api_router(prefix="/pages")

    @router.get("/")
    def show(page: PageDep) -> tuple[int, int, int]:
        return page.page, page.limit, page.offset

    return edge(router)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [1, 20, 0]),
        ("?page=3&limit=10", [3, 10, 20]),
        (f"?page={MAX_PAGE}&limit=100", [MAX_PAGE, 100, (MAX_PAGE - 1) * 100]),
    ],
)
def test_a_page_is_counted_from_one(client: TestClient, query: str, expected: list[int]) -> None:
    assert client.get(f"/pages/{query}").json() == expected


@pytest.mark.parametrize(
    "query",
    ["page=0", "page=-1", "page=", "page=a", "page=1.5", "page=1e3", f"page={MAX_PAGE + 1}", f"page={10**30}"],
)
def test_a_page_that_cannot_be_is_a_422(client: TestClient, query: str) -> None:
    assert client.get(f"/pages/?{query}").status_code == 422


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=10000", "limit=-5", "limit=%00"])
def test_a_limit_out_of_range_is_a_422(client: TestClient, query: str) -> None:
    assert client.get(f"/pages/?{query}").status_code == 422
