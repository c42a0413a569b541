"""What a request handler asks for: settings, the session factory, one transaction.

All of it hangs on `app.state`, put there by `main.create_app`, so that tests can build an app of their own.
"""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from app.db.session import SessionFactory, transaction
from app.settings import Settings


def get_app_settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def get_sessions(request: Request) -> SessionFactory:
    sessions: SessionFactory = request.app.state.sessions
    return sessions


SettingsDep = Annotated[Settings, Depends(get_app_settings)]
SessionsDep = Annotated[SessionFactory, Depends(get_sessions)]
"""The session factory, for services that own their transactions (those that send)."""


def get_session(sessions: SessionsDep) -> Iterator[Session]:
    """Yield a session in the request's one transaction."""
    with transaction(sessions) as session:
        yield session


SessionDep = Annotated[Session, Depends(get_session, scope="function")]
"""The request's one transaction, committed before the response leaves: a failed commit can never be a 201."""
