"""Schemathesis against the OpenAPI document: no request makes a 5xx, and no answer contradicts the document."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
import schemathesis
from fastapi import FastAPI
from schemathesis.checks import positive_data_acceptance
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.python import asgi

from app.main import create_app
from app.push.message import PushMessage
from app.push.outcome import Outcome, Reason, Verdict
from app.push.sender import Outcomes, never
from app.workers import opening
from tests.support.api import SERVICE_HEADERS, build_settings
from tests.support.browser_keys import a_subscription
from tests.support.databases import temporary_database

AnyCase = schemathesis.Case[Any]

SEED = 20261122
MAX_EXAMPLES = 20
KNOWN_KEY = "a-key"


class _Stage:
    """Where the app will stand: the document is needed to collect the tests, the app only to run them."""

    app: FastAPI | None = None
    known_ids: Mapping[str, str] = {}

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)


def _config() -> SchemathesisConfig:
    generation = GenerationConfig(deterministic=True, max_examples=MAX_EXAMPLES, database="none")
    return SchemathesisConfig(seed=SEED, projects=ProjectsConfig(default=ProjectConfig(generation=generation)))


stage = _Stage()
schema = schemathesis.openapi.from_dict(create_app(build_settings()).openapi(), config=_config())
schema.app = stage


class _AcceptingSender:
    """Stands for every push service in the world: takes each message, posts nothing."""

    def send(
        self,
        messages: Sequence[PushMessage],
        *,
        stop: Callable[[], bool] = never,
        rate_per_second: float | None = None,
    ) -> Outcomes:
        yield [(message, Outcome(Verdict.ACCEPTED, Reason.ACCEPTED, 201)) for message in messages if not stop()]

    def close(self) -> None: ...


@pytest.fixture(scope="module", autouse=True)
def served_app(
    postgres_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """The app over a database of its own with something in it. Schemathesis starts it with the first request."""
    with pytest.MonkeyPatch.context() as patch, temporary_database(postgres_url, template=template_database) as url:
        patch.setattr(opening, "create_sender", lambda *_, **__: _AcceptingSender())
        stage.app = create_app(build_settings(database_url=url, data_dir=tmp_path_factory.mktemp("data")))
        _store_something()
        yield
        asgi.shutdown_lifespans()


def _store_something() -> None:
    with asgi.get_client(stage) as client:
        client.headers.update(SERVICE_HEADERS)
        created = client.post("/subscriptions/", json=a_subscription(topics=["blog"]))
        key = {"Idempotency-Key": KNOWN_KEY}
        sent = client.post("/notifications/broadcast/", json={"title": "Hello", "body": "World"}, headers=key)
        created.raise_for_status()
        sent.raise_for_status()
    stage.known_ids = {"subscription_id": created.json()["id"], "notification_id": sent.json()["notification_id"]}


@schema.parametrize()
def test_no_answer_contradicts_the_document(case: AnyCase) -> None:
    _ask_for_something_known(case)

    # What makes a request valid is more than a schema can say: a point on the curve, a date in the past.
    case.call_and_validate(headers=dict(SERVICE_HEADERS), excluded_checks=[positive_data_acceptance])


def _ask_for_something_known(case: AnyCase) -> None:
    """Let half of the made-up ids and keys be ones that exist."""
    if len(str(case.path_parameters.get("key", "-"))) % 2 == 0:
        case.path_parameters["key"] = KNOWN_KEY
    for name, known_id in stage.known_ids.items():
        with suppress(ValueError, KeyError):  # no UUID was made up, or its path has none
            if UUID(str(case.path_parameters[name])).int % 2 == 0:
                case.path_parameters[name] = known_id
