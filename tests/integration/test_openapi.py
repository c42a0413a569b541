"""Schemathesis against the OpenAPI document: no request makes a 5xx, and no answer contradicts the document."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.python import asgi

from tests.support.api import SERVICE_HEADERS
from tests.support.browser_keys import a_subscription
from tests.support.document import operations
from tests.support.schema import TOO_STRICT, Stage, schema_on, served_on, try_all

AnyCase = schemathesis.Case[Any]

OPERATIONS = [(method, path) for method, path, _ in operations()]
KNOWN_KEY = "a-key"

stage = Stage()
known_ids: dict[str, str] = {}


@pytest.fixture(scope="module", autouse=True)
def served_app(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The app with something in its database."""
    with served_on(stage, module_database_url, tmp_path_factory.mktemp("data")):
        _store_something()
        yield


@pytest.fixture(scope="module")
def schema() -> Any:
    return schema_on(stage, usual_examples=8)


def _store_something() -> None:
    with asgi.get_client(stage) as client:
        client.headers.update(SERVICE_HEADERS)
        created = client.post("/subscriptions/", json=a_subscription(topics=["blog"]))
        key = {"Idempotency-Key": KNOWN_KEY}
        sent = client.post("/notifications/broadcast/", json={"title": "Hello", "body": "World"}, headers=key)
        created.raise_for_status()
        sent.raise_for_status()
    known_ids.update(subscription_id=created.json()["id"], notification_id=sent.json()["notification_id"])


@pytest.mark.hypothesis
@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=[f"{method} {path}" for method, path in OPERATIONS])
def test_no_answer_contradicts_the_document(schema: Any, method: str, path: str) -> None:
    def attempt(case: AnyCase) -> None:
        if case.meta is None or case.meta.generation.mode is not GenerationMode.NEGATIVE:
            _ask_for_something_known(case)

        case.call_and_validate(headers=dict(SERVICE_HEADERS), excluded_checks=TOO_STRICT)

    try_all(schema[path][method], attempt)


def _ask_for_something_known(case: AnyCase) -> None:
    """Let half of the made-up ids and keys be ones that exist."""
    if len(str(case.path_parameters.get("key", "-"))) % 2 == 0:
        case.path_parameters["key"] = KNOWN_KEY
    for name, known_id in known_ids.items():
        with suppress(ValueError, KeyError):  # no UUID was made up, or its path has none
            if UUID(str(case.path_parameters[name])).int % 2 == 0:
                case.path_parameters[name] = known_id
