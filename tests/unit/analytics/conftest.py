"""One database for all these tests: what a test writes is rolled back, so the next one finds it empty."""

from collections.abc import Iterator

import pytest
from sqlalchemy.orm import Session

from app.db.session import SessionFactory, create_sessions
from tests.support.databases import dispose, temporary_database


@pytest.fixture(scope="package")
def shared_sessions(postgres_url: str, template_database: str) -> Iterator[SessionFactory]:
    with temporary_database(postgres_url, template=template_database) as url:
        sessions = create_sessions(url)
        yield sessions
        dispose(sessions)


@pytest.fixture
def session(shared_sessions: SessionFactory) -> Iterator[Session]:
    """A session for the test's rows and for what reads them. Nothing of it is committed."""
    with shared_sessions() as session:
        yield session
