"""The app as Schemathesis sees it: its OpenAPI document, and a place where the app itself will stand."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from schemathesis.checks import load_all_checks, positive_data_acceptance
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.generation.feedback import FeedbackSources
from schemathesis.pytest._test_builder import build_operation_test
from schemathesis.python import asgi
from schemathesis.python._constants.orchestrator import make_constants_value_source
from schemathesis.schemas import APIOperation

from app.db.session import SessionFactory, create_sessions
from app.main import create_app
from app.workers import opening
from tests.support.api import build_settings
from tests.support.databases import dispose
from tests.support.document import openapi_document
from tests.support.fuzzing import FUZZ_SEED, IS_FUZZING, examples
from tests.support.senders import ScriptedSender

SEED = FUZZ_SEED or 20261122

# What makes a request valid is more than a schema can say: a point on the curve, a date in the past.
TOO_STRICT = [positive_data_acceptance]


class Stage:
    """Where the app will stand: the document is needed to collect the tests, the app only to run them."""

    app: FastAPI
    sessions: SessionFactory

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


def schema_on(stage: Stage, *, usual_examples: int) -> Any:
    """Return the schema of the app, which will stand on this stage."""
    generation = GenerationConfig(
        deterministic=not IS_FUZZING, max_examples=examples(usual_examples), database="none"
    )
    config = SchemathesisConfig(seed=SEED, projects=ProjectsConfig(default=ProjectConfig(generation=generation)))
    schema = schemathesis.openapi.from_dict(openapi_document(), config=config)
    schema.app = stage
    return schema


def try_all(operation: APIOperation[Any, Any, Any, Any], attempt: Callable[[schemathesis.Case[Any]], None]) -> None:
    """Make the attempt with what Schemathesis thinks up: the schema's examples, its edges, and more by chance.

    `schema.parametrize()` would do the same, but thinks it all up to collect the tests, in each of their processes.
    """
    load_all_checks()
    schema = operation.schema
    test = build_operation_test(
        config=schema.config,
        operation=operation,
        test_func=attempt,
        given_kwargs={},
        feedback=FeedbackSources(constants_value_source=make_constants_value_source(schema)),
    )
    test()


@contextmanager
def served_on(stage: Stage, database_url: str, data_dir: Path) -> Iterator[None]:
    """Put the app there; every push service accepts all. Schemathesis starts it with the first request."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "create_sender", lambda *_, **__: ScriptedSender())
        stage.app = create_app(build_settings(database_url=database_url, data_dir=data_dir))
        stage.sessions = create_sessions(database_url)
        yield
        dispose(stage.sessions)
        asgi.shutdown_lifespans()
