"""One session for the test's rows and for what reads them; nothing of it is kept."""

from collections.abc import Iterator

import pytest
from sqlalchemy.orm import Session

from app.db.session import SessionFactory


@pytest.fixture
def session(sessions: SessionFactory) -> Iterator[Session]:
    with sessions() as session:
        yield session
