"""The database of a command, and what a command says when it cannot be used."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import typer
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

from app.db.embedded import EmbeddedPostgresUnavailable
from app.db.session import SessionFactory, create_sessions, database_url_of, engine_of
from app.errors import DomainError
from app.settings import Settings, SettingsError, load_settings

REFUSED = 2


def refusal(why: str) -> typer.Exit:
    """Say why a command is not carried out, and return what it raises."""
    typer.echo(why, err=True)
    return typer.Exit(REFUSED)


@contextmanager
def open_database() -> Iterator[tuple[Settings, SessionFactory]]:
    """Yield the settings and their database for the length of a command. Its failure ends the command, in words."""
    try:
        settings = load_settings()
        sessions = create_sessions(database_url_of(settings), pool_size=1)
    except (SettingsError, EmbeddedPostgresUnavailable) as error:
        raise refusal(str(error)) from None
    try:
        with _logs_beside_the_output():
            yield settings, sessions
    except ProgrammingError:
        raise refusal("The tables are not there, or of another version: run alembic upgrade head.") from None
    except SQLAlchemyError as error:
        raise refusal(f"The database cannot be used: {_cause_of(error)}") from None
    finally:
        engine_of(sessions).dispose()


@contextmanager
def working_database() -> Iterator[tuple[Settings, SessionFactory]]:
    """As `open_database`; what the domain refuses ends the command, too, with the domain's words."""
    with open_database() as opened:
        try:
            yield opened
        except DomainError as error:
            raise refusal(error.detail) from None


@contextmanager
def _logs_beside_the_output() -> Iterator[None]:
    """Let what is logged go to standard error, unless somebody has said where to: machines read the output."""
    if structlog.is_configured():
        yield
        return
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(sys.stderr))
    try:
        yield
    finally:
        structlog.reset_defaults()


def _cause_of(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or type(error).__name__).strip()
