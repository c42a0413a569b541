"""A small app of its own for the tests of the edge: the real middleware and handlers, a router of a few lines."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient

from app.main import create_app
from tests.support.api import SettingsFactory

EdgeFactory = Callable[..., TestClient]


@pytest.fixture
def edge(make_settings: SettingsFactory) -> Iterator[EdgeFactory]:
    """`edge(router, cors_allowed_origins=...)`: a client of the app with this router, without any database."""
    with ExitStack() as stack:

        def build(
            router: APIRouter, *, configure: Callable[[FastAPI], None] | None = None, **overrides: Any
        ) -> TestClient:
            app = create_app(make_settings(**overrides))
            app.state.sessions = None
            app.include_router(router)
            if configure is not None:
                configure(app)
            scheme = "https" if app.state.settings.is_production else "http"
            # Not entered: the lifespan, which opens a database, does not run.
            client = TestClient(app, base_url=f"{scheme}://testserver")
            stack.callback(client.close)
            return client

        yield build
