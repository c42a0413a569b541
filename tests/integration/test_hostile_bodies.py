"""Bodies made to break what reads them, at every route that takes one: a clear problem each time, never a 500."""

import gzip
import re
import zlib
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from tests.support.api import SERVICE_HEADERS, build_settings

SOME_ID = "0199a000-0000-7000-8000-000000000000"
# So that a route takes its member for what it is: all of ours, each with the value that is to break it.
MEMBERS = (
    *("title", "body", "topics", "user_ids", "ttl", "data", "scheduled_at", "endpoint", "keys", "expirationTime"),
    *("enabled", "application_server_key", "old_auth", "receipts"),
)


def _everywhere(value: str) -> bytes:
    return ("{" + ", ".join(f'"{name}": {value}' for name in MEMBERS) + "}").encode("utf-8", "surrogatepass")


BODIES = {
    "a number beyond any float": _everywhere("1e999"),
    "one below": _everywhere("-1e999"),
    "many digits": _everywhere("9" * 5000),
    "digits just as many as Python takes": _everywhere("9" * 4300),
    "many digits of a fraction": _everywhere("0." + "9" * 5000),
    "a small exponent": _everywhere("1e-999"),
    "NaN": _everywhere("NaN"),
    "infinity": _everywhere("-Infinity"),
    "half a pair": _everywhere('"\\ud800"'),
    "half a pair as a name": b'{"\\udfff": 1, "title": "t", "body": "b"}',
    "a surrogate in UTF-8": _everywhere('"\ud800"'),
    "NUL": _everywhere('"\\u0000"'),
    "NUL as a name": b'{"\\u0000": 1}',
    "the same name twice": b'{"title": "a", "title": 5, "endpoint": "a", "endpoint": 7, "topics": 5}',
    "nested": _everywhere("[" * 300 + "]" * 300),
    "nested as deep as is read": b'{"data": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_001,
    "never closed": b'{"data": ' + b"[" * 49_000,
    "a byte-order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"title": "t"}'.encode("utf-16"),
    "UTF-32": '{"title": "t"}'.encode("utf-32"),
    "overlong UTF-8": b'{"title": "\xc0\xaf"}',
    "Latin-1": '{"title": "é"}'.encode("latin-1"),
    "a text": b'"' + b"x" * 1_000_000 + b'"',
    "spaces": b" " * 1_000_000,
    "two documents": b"{}{}",
    "a comment": b"{} // really",
}
COMPRESSED = {
    "gzip": gzip.compress(b'{"title": "t", "body": "b", "topics": ["a"]}'),
    "deflate": zlib.compress(b"{}"),
    "br": b"\x0b\x00\x80{}\x03",
    "gzip, a bomb": gzip.compress(b" " * 200_000_000, compresslevel=1),
}


@pytest.fixture(scope="module")
def client(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = build_settings(database_url=module_database_url, data_dir=tmp_path_factory.mktemp("data"))
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


def _refused(client: TestClient, body: bytes, **headers: str) -> dict[str, tuple[int, str]]:
    """Send the body to every route that takes one, as a service; return those not refused with a problem."""
    wrong = {}
    for path, item in client.get("/openapi.json").json()["paths"].items():
        for method, operation in item.items():
            if "requestBody" not in operation:
                continue
            answer = client.request(
                method,
                re.sub(r"\{[^}]+\}", SOME_ID, path),
                content=body,
                headers={"Content-Type": "application/json", **SERVICE_HEADERS, **headers},
            )
            is_problem = answer.headers.get("content-type") == "application/problem+json"
            if not (400 <= answer.status_code < 500 and is_problem and len(answer.content) < 10_000):
                wrong[f"{method} {path}"] = (answer.status_code, answer.text[:300])
    return wrong


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_it_is_refused_with_a_problem(client: TestClient, body: bytes) -> None:
    assert _refused(client, body) == {}


@pytest.mark.parametrize(("coding", "body"), COMPRESSED.items(), ids=COMPRESSED)
def test_what_is_compressed_is_not_opened(client: TestClient, coding: str, body: bytes) -> None:
    assert _refused(client, body, **{"Content-Encoding": coding.partition(",")[0]}) == {}


@pytest.mark.parametrize("member", ["ttl", "scheduled_at", "data", "topics", "expirationTime"])
@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "1e308", "9" * 400, "-0.0", "1e-400", "0.5"])
def test_a_number_that_is_none_is_never_a_fault_of_ours(client: TestClient, member: str, number: str) -> None:
    value = {"data": f'{{"deep": [{number}]}}', "topics": f"[{number}]"}.get(member, number)
    send = f'{{"title": "t", "body": "b", "user_ids": ["nobody"], "{member}": {value}}}'
    subscribe = f'{{"endpoint": "https://fcm.googleapis.com/x", "keys": {{}}, "{member}": {value}}}'

    answers = [
        client.post(path, content=body, headers={**SERVICE_HEADERS, "Content-Type": "application/json"})
        for path, body in (("/notifications/send/", send), ("/subscriptions/", subscribe))
    ]

    assert [answer.status_code for answer in answers if answer.status_code not in {200, 202, 422}] == []
