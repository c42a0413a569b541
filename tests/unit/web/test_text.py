import json
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from app.web.text import MAX_JSON_DEPTH, Instant, JsonObject, NonBlankText, PlainText


class Letter(BaseModel):
    text: Annotated[PlainText, Field(max_length=50)] = ""
    name: NonBlankText = "a"
    data: JsonObject = {}
    at: Instant | None = None


def _nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"k": value}
    return value


@pytest.mark.parametrize("text", ["", "Grüße 👋🏽", "a\nb\tc", "\u202e", "\ufffe"])
def test_text_of_any_language_passes(text: str) -> None:
    assert Letter(text=text).text == text


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800", "a\udfff", "x" * 51])
def test_text_that_cannot_be_stored_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Letter(text=text)


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "\u3000"])
def test_blank_text_is_refused_where_text_is_needed(text: str) -> None:
    with pytest.raises(ValidationError):
        Letter(name=text)


@pytest.mark.parametrize(
    "data", [{}, {"a": [1, 2.5, None, True, "x", {"b": []}]}, {"": ""}, _nested(MAX_JSON_DEPTH), {"n": 10**40}]
)
def test_json_passes_unchanged(data: dict[str, Any]) -> None:
    assert Letter(data=data).data == data


@pytest.mark.parametrize(
    "data",
    [
        {"a\x00": 1},
        {"a": "\x00"},
        {"a": [{"b": ["\ud83d"]}]},
        {"\ud800": 1},
        {"a": float("nan")},
        {"a": [float("inf")]},
        json.loads('{"a": 1e999}'),
        _nested(MAX_JSON_DEPTH + 1),
        [1],
        "text",
        None,
    ],
)
def test_json_that_cannot_be_stored_or_read_is_refused(data: Any) -> None:
    with pytest.raises(ValidationError):
        Letter(data=data)


def test_nesting_is_bounded_without_recursion() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"k": deep}

    with pytest.raises(ValidationError, match="nested deeper"):
        Letter(data=deep)


def test_the_schema_tells_that_nul_is_refused() -> None:
    schema = Letter.model_json_schema()

    assert schema["properties"]["text"]["pattern"] == r"^[^\u0000]*$"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00.5+02:00", datetime(2026, 1, 31, 10, 0, 0, 500_000, tzinfo=UTC)),
        ("1672-06-08T12:57:09-20:15", datetime(1672, 6, 9, 9, 12, 9, tzinfo=UTC)),
    ],
)
def test_an_instant_is_kept_in_utc(text: str, expected: datetime) -> None:
    instant = Letter.model_validate_json(json.dumps({"at": text})).at

    assert instant == expected
    assert instant is not None
    assert instant.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        *(0, 1.5, True, [], "0", "1700000000", "-5", "now", ""),
        *("2026-02-30T00:00:00Z", "2026-01-31", "2026-01-31T12:00:00", "2026-01-31T25:00:00Z", "20260131T120000Z"),
        *("0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"),
    ],
)
def test_what_is_no_instant_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        Letter(at=value)
