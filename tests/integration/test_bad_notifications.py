"""Bad input about notifications: each a clear problem document, and nothing stored."""

from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from app.db.session import transaction
from app.main import create_app
from app.models import Notification
from tests.support.api import SERVICE_HEADERS, build_settings
from tests.support.databases import temporary_database


@pytest.fixture(scope="module")
def client(postgres_url, template_database, tmp_path_factory) -> Iterator[TestClient]:
    """One app for all of these: none of them may change anything."""
    data_dir = tmp_path_factory.mktemp("data")
    with (
        temporary_database(postgres_url, template=template_database) as url,
        TestClient(create_app(build_settings(database_url=url, data_dir=data_dir))) as test_client,
    ):
        yield test_client


@pytest.fixture
def stored(client) -> Callable[[], int]:
    """Counts the notifications that are stored."""

    def count() -> int:
        with transaction(client.app.state.sessions) as session:
            return session.scalars(select(func.count()).select_from(Notification)).one()

    return count


BAD_FIELDS = [
    {"title": ""},
    {"title": "   "},
    {"title": 7},
    {"title": None},
    {"title": "x" * 1001},
    {"title": "NUL \x00 inside"},
    {"body": None},
    {"body": ["not", "text"]},
    {"unknown_field": 1},
    {"topics": []},
    {"topics": "news"},
    {"topics": [""]},
    {"topics": ["x" * 101]},
    {"topics": [f"topic-{number}" for number in range(1000)]},
    {"user_ids": [7]},
    {"user_ids": ["x" * 256]},
    {"subscription_ids": ["not-a-uuid"]},
    {"app_badge": -1},
    {"app_badge": 2**31},
    {"app_badge": True},
    {"app_badge": "3"},
    {"actions": [{"action": "a", "title": "A", "url": "javascript:alert(1)"}]},
    {"ttl": -1},
    {"ttl": 28 * 24 * 3600 + 1},
    {"ttl": "soon"},
    {"ttl": 10**30},
    {"urgency": "extreme"},
    {"url": "javascript:alert(1)"},
    {"url": "ftp://example.com/"},
    {"icon": "data:image/png;base64,AAAA"},
    {"image": "https://example.com/ with space"},
    {"url": "https://[::1"},
    {"actions": [{"action": "a"}]},
    {"actions": [{"action": "a", "title": "b", "unknown": 1}]},
    {"actions": [{"action": str(number), "title": "b"} for number in range(11)]},
    {"data": "text"},
    {"data": {"key": "NUL \x00"}},
    {"data": {"a": {"b": {"c": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}}}},
    {"scheduled_at": "tomorrow"},
    {"scheduled_at": "2026-02-30T00:00:00Z"},
    {"scheduled_at": "2026-01-01T00:00:00"},
    {"type": ""},
    {"tag": "x" * 257},
    {"collapse_key": ""},
]


@pytest.mark.parametrize("fields", BAD_FIELDS, ids=lambda fields: next(iter(fields)))
def test_a_bad_field_is_a_clear_problem_that_names_it_and_stores_nothing(client, stored, fields):
    body = {"title": "t", "body": "b", "topics": ["a"], **fields}

    answer = client.post("/notifications/send/", json=body, headers=SERVICE_HEADERS)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 422
    named = [error["pointer"] for error in problem["errors"]]
    assert any(pointer.startswith(f"/{next(iter(fields))}") or pointer == "" for pointer in named)
    assert stored() == 0


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[]", 422),
        (b"null", 422),
        (b'"text"', 422),
        (b"[" * 40_000, 400),
        (b"[" * 100_000, 413),
        (b'{"title": NaN, "body": "b", "topics": ["a"]}', 422),
        (b'{"title": "t", "body": "b", "topics": ["a"], "data": {"x": Infinity}}', 422),
        (b'{"title": "t", "body": "b", "topics": ["a"], "data": {"x": ' + b"9" * 5000 + b"}}", 400),
        (b'{"title": "half a pair \\ud800", "body": "b", "topics": ["a"]}', 422),
        (b"x" * 1_100_000, 413),
    ],
    ids=[
        "empty",
        "cut",
        "not-utf8",
        "list",
        "null",
        "text",
        "deep",
        "deeper",
        "nan",
        "infinity",
        "huge-number",
        "half-a-pair",
        "huge",
    ],
)
def test_a_body_that_is_no_notification_is_a_clear_problem(client, stored, body, status):
    headers = {**SERVICE_HEADERS, "Content-Type": "application/json"}

    answer = client.post("/notifications/send/", content=body, headers=headers)

    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert stored() == 0


@pytest.mark.parametrize(
    "params",
    [{"page": 0}, {"limit": 10_000}, {"limit": 0}, {"page": "one"}, {"status": "unknown"}, {"page": 10**20}],
    ids=str,
)
def test_a_bad_page_of_history_is_a_clear_problem(client, params):
    answer = client.get("/notifications/history/", params=params, headers=SERVICE_HEADERS)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["pointer"] for error in answer.json()["errors"]] == [f"/{name}" for name in params]
