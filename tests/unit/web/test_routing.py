from uuid import UUID

import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient

from app.web.routing import api_router
from tests.unit.web.conftest import EdgeFactory


def _letters() -> APIRouter:
    router = api_router(prefix="/letters", tags=["letters"])

    @router.get("/")
    def list_letters() -> list[str]:
        return ["a"]

    @router.post("/", status_code=201)
    def post_letter(letter: dict[str, str]) -> dict[str, str]:
        return letter

    @router.get("/{letter_id}/")
    def get_letter(letter_id: UUID) -> UUID:
        return letter_id

    @router.delete("/{letter_id}/", status_code=204)
    def delete_letter(letter_id: UUID) -> None: ...

    @router.get("/stamps/colours")
    def list_colours() -> list[str]:
        return ["red"]

    return router


@pytest.fixture
def client(edge: EdgeFactory) -> TestClient:
    return edge(_letters())


LETTER = "0f1e7c1a-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    "path", ["/letters/", "/letters", f"/letters/{LETTER}/", f"/letters/{LETTER}", "/letters/stamps/colours/"]
)
def test_a_path_answers_with_and_without_its_slash(client: TestClient, path: str) -> None:
    response = client.get(path, follow_redirects=False)

    assert response.status_code == 200


def test_a_post_without_the_slash_keeps_its_body(client: TestClient) -> None:
    response = client.post("/letters", json={"to": "Ada"}, follow_redirects=False)

    assert (response.status_code, response.json()) == (201, {"to": "Ada"})


@pytest.mark.parametrize("path", ["/letters//", "http://testserver//letters", f"/letters/{LETTER}//"])
def test_two_slashes_are_not_one(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_query_string_survives_either_form(edge: EdgeFactory) -> None:
    router = api_router(prefix="/echo")

    @router.get("/")
    def echo(word: str) -> str:
        return word

    client = edge(router)

    assert client.get("/echo?word=a").json() == client.get("/echo/?word=a").json() == "a"


def test_a_parameter_that_stands_in_the_query_twice_is_refused_by_name(edge: EdgeFactory) -> None:
    router = api_router(prefix="/echo")

    @router.get("/")
    def echo(word: str, loud: bool = False) -> str:
        return word

    answer = edge(router).get("/echo/?word=a&loud=1&word=b&other=1&other=2")

    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["errors"] == [{"location": "query", "pointer": "/word", "message": "must be given once"}]


def test_head_is_get_without_the_body(client: TestClient) -> None:
    got = client.get("/letters/")

    response = client.head("/letters")

    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == got.headers["content-length"]


@pytest.mark.parametrize("path", ["/letters/", "/letters"])
def test_a_405_names_every_method_of_the_path(client: TestClient, path: str) -> None:
    response = client.put(path)

    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert response.headers["content-type"] == "application/problem+json"


def test_head_where_there_is_no_get_is_a_405(edge: EdgeFactory) -> None:
    router = api_router(prefix="/bin")

    @router.post("/")
    def throw_away() -> None: ...

    response = edge(router).head("/bin/")

    assert (response.status_code, response.headers["allow"]) == (405, "OPTIONS, POST")


def test_options_names_the_methods(client: TestClient) -> None:
    response = client.options(f"/letters/{LETTER}")

    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["allow"] == "DELETE, GET, HEAD, OPTIONS"


def test_a_path_that_is_spelled_out_is_no_id(edge: EdgeFactory) -> None:
    router = api_router(prefix="/mail")

    @router.get("/{mail_id}/")
    def get_mail(mail_id: UUID) -> None: ...

    @router.post("/send/")
    def send() -> None: ...

    client = edge(router)

    assert client.get("/mail/send").status_code == client.get("/mail/send/").status_code == 405
    assert client.get("/mail/other").status_code == 422
    assert client.options("/mail/send").headers["allow"] == "OPTIONS, POST"
    assert client.options(f"/mail/{LETTER}").headers["allow"] == "GET, HEAD, OPTIONS"


def test_options_of_an_unknown_path_is_a_404(client: TestClient) -> None:
    assert client.options("/nowhere/").status_code == 404


def test_the_document_shows_each_path_once_in_its_declared_form(client: TestClient) -> None:
    document = client.get("/openapi.json").json()

    ours = {path: set(item) for path, item in document["paths"].items() if path.startswith("/letters")}
    assert ours == {
        "/letters/": {"get", "post"},
        "/letters/{letter_id}/": {"get", "delete"},
        "/letters/stamps/colours": {"get"},
    }
    assert document["paths"]["/letters/"]["post"]["operationId"] == "letters_post_letter"
