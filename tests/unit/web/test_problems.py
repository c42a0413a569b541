import json
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Body, Query
from fastapi.testclient import TestClient
from psycopg2 import OperationalError as DriverError
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import exc as database_errors

from app import errors
from app.web import problems
from app.web.routing import api_router
from app.web.text import JsonObject, PlainText
from tests.unit.web.conftest import EdgeFactory

SECRET = "https://fcm.googleapis.com/fcm/send/very-secret"


class Colour(StrEnum):
    RED = "red"


class Parcel(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: Annotated[PlainText, Field(max_length=10)]
    colour: Colour = Colour.RED
    when: datetime | None = None
    topics: Annotated[list[PlainText], Field(max_length=100)] = []
    contents: JsonObject = {}


def _parcels() -> APIRouter:
    router = api_router(prefix="/parcels", tags=["parcels"])

    @router.post("/", status_code=201)
    def post_parcel(parcel: Parcel) -> Parcel:
        return parcel

    @router.get("/")
    def list_parcels(page: Annotated[int, Query(ge=1)] = 1) -> int:
        return page

    @router.post("/raw/")
    def post_raw(raw: Annotated[dict[str, Any], Body()]) -> int:
        return len(raw)

    return router


def _raising(error: Exception) -> APIRouter:
    router = api_router(prefix="/fault")

    @router.get("/")
    def fail() -> None:
        raise error

    return router


@pytest.fixture
def parcels(edge: EdgeFactory) -> TestClient:
    return edge(_parcels())


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.Invalid("Add a title."), 422, "invalid"),
        (errors.TooLarge("Send less."), 413, "too-large"),
        (errors.Unauthenticated("Log in."), 401, "unauthenticated"),
        (errors.Forbidden("Not yours."), 403, "forbidden"),
        (errors.NotFound("No such parcel."), 404, "not-found"),
        (errors.Conflict("Already sent."), 409, "conflict"),
        (errors.PreconditionFailed("Too late."), 412, "precondition-failed"),
        (errors.RateLimited("Slow down.", retry_after_seconds=7), 429, "rate-limited"),
        (errors.Unavailable("Come back."), 503, "unavailable"),
    ],
)
def test_each_domain_error_has_its_status(
    edge: EdgeFactory, error: errors.DomainError, status: int, code: str
) -> None:
    response = edge(_raising(error)).get("/fault/")

    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == {
        "type": f"/problems/{code}",
        "title": error.title,
        "status": status,
        "detail": error.detail,
        "request_id": response.headers["x-request-id"],
    }


def test_a_new_kind_of_error_takes_its_parents_status(edge: EdgeFactory) -> None:
    class ParcelLost(errors.NotFound):
        code = "parcel-lost"
        title = "Parcel lost"

    response = edge(_raising(ParcelLost("Ask the post office.", last_seen="Rome"))).get("/fault/")

    assert response.status_code == 404
    assert response.json()["type"] == "/problems/parcel-lost"
    assert response.json()["last_seen"] == "Rome"


def test_an_extension_cannot_replace_a_member_of_the_problem(edge: EdgeFactory) -> None:
    response = edge(_raising(errors.Conflict("Really.", status=200, title="fine"))).get("/fault/")

    assert (response.json()["status"], response.json()["title"]) == (409, errors.Conflict.title)


def test_a_429_says_when_to_come_back(edge: EdgeFactory) -> None:
    response = edge(_raising(errors.RateLimited("Slow down.", retry_after_seconds=7))).get("/fault/")

    assert response.headers["retry-after"] == "7"


def test_so_does_any_error_that_knows_and_no_other(edge: EdgeFactory) -> None:
    class StillBusy(errors.Conflict):
        retry_after_seconds = 3

    busy = edge(_raising(StillBusy("Wait."))).get("/fault/")
    never = edge(_raising(errors.Conflict("Never."))).get("/fault/")

    assert (busy.status_code, busy.headers["retry-after"]) == (409, "3")
    assert "retry-after" not in never.headers


@pytest.mark.parametrize(
    "body", [b"{", b"", b"nonsense", b"\xff\xfe", b'{"title": "a"', b"[" * 40_000, b"1" * 5000]
)
def test_what_is_not_json_is_a_400(parcels: TestClient, body: bytes) -> None:
    response = parcels.post("/parcels/", content=body, headers={"Content-Type": "application/json"})

    assert response.status_code in {400, 422}
    assert response.headers["content-type"] == "application/problem+json"
    if body not in {b"", b"1" * 5000}:
        assert (response.status_code, response.json()["type"]) == (400, "/problems/malformed-json")


def test_a_body_of_another_type_is_a_415_that_names_json(parcels: TestClient) -> None:
    response = parcels.post("/parcels/", content=b"title=a", headers={"Content-Type": "text/plain"})

    assert response.status_code == 415
    assert "application/json" in response.json()["detail"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/title"),
        ({"title": 5}, "/title"),
        ({"title": "a\x00b"}, "/title"),
        ({"title": "much too long for a parcel"}, "/title"),
        ({"title": "a", "colour": "blue-secret"}, "/colour"),
        ({"title": "a", "when": "2026-02-30T00:00:00Z"}, "/when"),
        ({"title": "a", "topics": ["ok", 7]}, "/topics/1"),
        ({"title": "a", "topics": ["t"] * 1000}, "/topics"),
        ({"title": "a", "sender/name~": 1}, "/sender~1name~0"),
        ({"title": "a", "https://fcm.googleapis.com/fcm/send/" + "x" * 140: 1}, "/…"),
        ({"title": "a", "contents": {"k": ["\x00"]}}, "/contents"),
        ([], ""),
        ("text", ""),
        (None, ""),
    ],
)
def test_a_wrong_member_is_a_422_that_points_at_it(parcels: TestClient, body: Any, pointer: str) -> None:
    response = parcels.post("/parcels/", content=json.dumps(body), headers={"Content-Type": "application/json"})

    assert response.status_code == 422
    problem = response.json()
    assert [(error["location"], error["pointer"]) for error in problem["errors"]] == [("body", pointer)]
    assert problem["detail"]
    assert "Value error" not in response.text


def test_a_text_that_is_too_long_is_told_its_length_in_characters(parcels: TestClient) -> None:
    response = parcels.post("/parcels/", json={"title": "much too long for a parcel"})

    assert response.json()["detail"] == "/title: must have at most 10 characters"


def test_a_query_parameter_is_named(parcels: TestClient) -> None:
    response = parcels.get("/parcels/?page=0")

    assert response.status_code == 422
    assert response.json()["errors"][0]["location"] == "query"
    assert response.json()["errors"][0]["pointer"] == "/page"


@pytest.mark.parametrize(
    "body",
    [
        {"title": SECRET * 3},
        {"title": "a", "colour": SECRET},
        {"title": "a", "when": SECRET},
        {"title": "a", "topics": SECRET},
        {"title": {"a": SECRET}},
        [SECRET],
        SECRET,
    ],
)
def test_a_422_does_not_repeat_the_input(parcels: TestClient, body: Any) -> None:
    response = parcels.post("/parcels/", json=body)

    assert response.status_code == 422
    assert "very-secret" not in response.text


def test_many_errors_are_cut_short(parcels: TestClient) -> None:
    response = parcels.post("/parcels/", json={"title": "a", **{f"x{i}": 1 for i in range(500)}})

    assert response.status_code == 422
    assert len(response.json()["errors"]) == problems.MAX_LISTED_ERRORS


@pytest.mark.parametrize("name", ["\ud800", "\x00", "n" * 100_000, "ü", '"'])
def test_an_odd_name_of_an_unknown_member_breaks_nothing(parcels: TestClient, name: str) -> None:
    body = json.dumps({"title": "a", name: 1}).encode()

    response = parcels.post("/parcels/", content=body, headers={"Content-Type": "application/json"})

    assert response.status_code == 422
    assert len(response.content) < 2000


def test_an_unknown_path_is_a_404_problem(parcels: TestClient) -> None:
    response = parcels.get("/no/such/<path>")

    assert response.status_code == 404
    assert response.json()["type"] == "/problems/not-found"
    assert "<path>" not in response.text


def _database_error(kind: Callable[..., Exception], text: str = "server closed the connection") -> Exception:
    return kind(f"INSERT INTO push_subscriptions VALUES ('{SECRET}')", {"endpoint": SECRET}, DriverError(text))


@pytest.mark.parametrize(
    "error",
    [
        _database_error(database_errors.OperationalError),
        _database_error(database_errors.InternalError),  # such as 25006: a standby that only reads
        _database_error(database_errors.InterfaceError),
        database_errors.TimeoutError("QueuePool limit reached"),
        database_errors.DBAPIError("SELECT 1", {}, DriverError("gone"), connection_invalidated=True),
    ],
)
def test_a_database_that_is_down_is_a_503(edge: EdgeFactory, error: Exception) -> None:
    response = edge(_raising(error)).get("/fault/")

    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert response.json()["type"] == "/problems/unavailable"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(f"cannot reach {SECRET}"),
        _database_error(database_errors.IntegrityError),
        _database_error(database_errors.DataError),
        MemoryError(),
    ],
)
def test_an_unexpected_error_is_a_500_that_tells_nothing(edge: EdgeFactory, error: Exception) -> None:
    response = edge(_raising(error)).get("/fault/")

    assert response.status_code == 500
    assert response.json()["type"] == "/problems/internal-error"
    assert response.json()["request_id"] == response.headers["x-request-id"]
    assert "secret" not in response.text
    assert type(error).__name__ not in response.text


def test_a_500_is_logged_with_where_it_happened(edge: EdgeFactory, capfd: pytest.CaptureFixture[str]) -> None:
    client = edge(_raising(RuntimeError("the parcel fell over")))

    request_id = client.get("/fault/").json()["request_id"]

    logged = capfd.readouterr().out
    assert "the parcel fell over" in logged
    assert request_id in logged
    assert "test_problems.py" in logged


@pytest.mark.parametrize("kind", [database_errors.OperationalError, database_errors.IntegrityError])
def test_a_database_error_is_logged_without_its_parameters(
    edge: EdgeFactory, capfd: pytest.CaptureFixture[str], kind: Callable[..., Exception]
) -> None:
    client = edge(_raising(_database_error(kind, text=f"DETAIL: Failing row contains ({SECRET})")))

    client.get("/fault/")

    logged = capfd.readouterr().out
    assert kind.__name__ in logged
    assert "secret" not in logged


def test_every_kind_of_domain_error_is_in_the_table_by_itself_or_its_parent() -> None:
    def all_kinds(kind: type[errors.DomainError]) -> list[type[errors.DomainError]]:
        return [kind, *(each for child in kind.__subclasses__() for each in all_kinds(child))]

    kinds = all_kinds(errors.DomainError)

    assert all(any(base in problems.HTTP_STATUS for base in kind.__mro__) for kind in kinds)
