"""The app as Schemathesis sees it: its OpenAPI document, and a place where the app itself will stand."""

from collections.abc import Callable, Iterator, Sequence
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
from app.push.message import PushMessage
from app.push.outcome import Outcome, Reason, Verdict
from app.push.sender import Outcomes, never
from app.workers import opening
from tests.support.api import build_settings
from tests.support.databases import dispose, temporary_database
from tests.support.fuzzing import FUZZ_SEED, IS_FUZZING, examples

SEED = FUZZ_SEED or 20261122

# What makes a request valid is more than a schema can say: a point on the curve, a date in the past.
TOO_STRICT = [positive_data_acceptance]


class Stage:
    """Where the app will stand: the document is needed to collect the tests, the app only to run them."""

    app: FastAPI
    sessions: SessionFactory

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


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
def served_on(stage: Stage, *, postgres_url: str, template: str, data_dir: Path) -> Iterator[None]:
    """Put the app there, over a database of its own. Schemathesis starts it with the first request."""
    with pytest.MonkeyPatch.context() as patch, temporary_database(postgres_url, template=template) as url:
        patch.setattr(opening, "create_sender", lambda *_, **__: _AcceptingSender())
        stage.app = create_app(build_settings(database_url=url, data_dir=data_dir))
        stage.sessions = create_sessions(url)
        yield
        dispose(stage.sessions)
        asgi.shutdown_lifespans()
