"""The app as Schemathesis sees it: its OpenAPI document, and a place where the app itself will stand."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from schemathesis.checks import positive_data_acceptance
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.python import asgi

from app.db.session import SessionFactory, create_sessions
from app.main import create_app
from app.workers import opening
from tests.support.api import build_settings
from tests.support.databases import dispose
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
    schema = schemathesis.openapi.from_dict(create_app(build_settings()).openapi(), config=config)
    schema.app = stage
    return schema


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
