from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.web import problems
from app.web.send_headers import GiveUpAtDep, IdempotencyKeyDep, PrefersAsyncDep, is_preferred


@pytest.fixture(scope="module")
def read():
    """Send headers, and get back what the dependencies read from them, or the problem."""
    app = FastAPI()
    problems.install(app)

    @app.post("/")
    def show(key: IdempotencyKeyDep, give_up_at: GiveUpAtDep, is_async: PrefersAsyncDep) -> dict[str, Any]:
        return {"key": key, "give_up_at": give_up_at, "is_async": is_async}

    client = TestClient(app)
    return lambda *headers: client.post("/", headers=list(headers))


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        ('"8e03978e"', "8e03978e"),
        (r'"a \"quoted\" word \\ and a backslash"', r'a "quoted" word \ and a backslash'),
        ("order/4711 ~!", "order/4711 ~!"),
        ('a"b', 'a"b'),
        ("x" * 255, "x" * 255),
        (f'"{"x" * 255}"', "x" * 255),
    ],
)
def test_a_key_is_read_with_and_without_the_quotes_of_the_draft(read, header, key):
    assert read(("Idempotency-Key", header)).json()["key"] == key


@pytest.mark.parametrize("header", ["", '""', "x" * 256, '"open', '"a" b', '"bad \\escape"', "käse", "tab\tinside"])
def test_a_key_that_cannot_be_one_is_a_clear_problem(read, header):
    answer = read(("Idempotency-Key", header.encode("latin-1")))

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-idempotency-key")
    assert answer.headers["content-type"] == "application/problem+json"


def test_two_keys_are_none(read):
    answer = read(("Idempotency-Key", "a"), ("Idempotency-Key", "b"))

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-idempotency-key")


@pytest.mark.parametrize(
    ("header", "instant"),
    [
        ("2026-01-31T13:00:00+01:00", "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00:00.25Z", "2026-01-31T12:00:00.250000Z"),
        ("1769860800", "2026-01-31T12:00:00Z"),
        ("1769860800.5", "2026-01-31T12:00:00.500000Z"),
    ],
)
def test_when_to_give_up_is_read_as_rfc_3339_or_unix_seconds(read, header, instant):
    assert read(("X-Give-Up-At", header)).json()["give_up_at"] == instant


@pytest.mark.parametrize(
    "header", ["", "soon", "2026-01-31T12:00:00", "2026-02-30T12:00:00Z", "-5", "1e9", "1769860800000", "NaN"]
)
def test_a_time_to_give_up_that_cannot_be_read_is_a_clear_problem(read, header):
    answer = read(("X-Give-Up-At", header))

    assert answer.status_code == 422
    assert [error["location"] for error in answer.json()["errors"]] == ["header"]
    assert "/X-Give-Up-At" in answer.json()["errors"][0]["pointer"]


def test_two_times_to_give_up_are_none(read):
    answer = read(("X-Give-Up-At", "1769860800"), ("X-Give-Up-At", "4102444800"))

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-give-up-at")


def test_without_the_headers_nothing_is_wished(read):
    assert read().json() == {"key": None, "give_up_at": None, "is_async": False}


def test_preferences_are_found_over_several_headers(read):
    assert read(("Prefer", "return=minimal"), ("Prefer", "respond-async")).json()["is_async"]


@pytest.mark.parametrize(
    "header",
    [
        "respond-async",
        "Respond-Async",
        " respond-async ; foo=bar",
        "respond-async, wait=10",
        "wait=10,respond-async",
        'return=minimal; x="a, b" , respond-async',
        'respond-async=""',
        ", ,respond-async,",
    ],
)
def test_the_preference_is_found(header):
    assert is_preferred("respond-async", [header])


@pytest.mark.parametrize(
    "header",
    [
        "",
        "wait=10",
        "respond-asynchronously",
        "respond-async=no",
        'foo="x, respond-async"',
        'foo="unfinished, respond-async',
        "foo; respond-async",
    ],
)
def test_what_only_looks_like_the_preference_is_ignored(header):
    assert not is_preferred("respond-async", [header])


def test_a_long_header_is_read_in_no_time():
    assert not is_preferred("respond-async", ['"\\' * 16_000, '=;"' * 16_000, "a" * 60_000])
