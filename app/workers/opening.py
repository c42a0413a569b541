"""The pipeline of a process, opened from its settings: the same in an API process and in a worker."""

from sqlalchemy.exc import ProgrammingError

from app.db.session import PASSING_ERRORS, create_sessions, database_url_of, engine_of, transaction
from app.delivery.forms import Payloads
from app.delivery.payload import PublicUrls
from app.delivery.run import Pipeline
from app.keyring.service import Keyring
from app.push.endpoint import EndpointPolicy
from app.push.factory import create_sender
from app.settings import Settings

API_CONNECTIONS = 10


def endpoint_policy_of(settings: Settings) -> EndpointPolicy:
    """Return which endpoints these settings trust."""
    return EndpointPolicy(
        extra_hosts=frozenset(settings.push_extra_hosts), allow_loopback=settings.push_allow_loopback
    )


def refuse_another_secret_key(settings: Settings) -> None:
    """Raise CannotUnseal when keys in the database were stored under another SECRET_KEY.

    Worker processes would claim what they cannot send. A database that is away is not waited for. Raises
    EmbeddedPostgresUnavailable.
    """
    sessions = create_sessions(database_url_of(settings), pool_size=1)
    try:
        with transaction(sessions) as session:
            _keyring_of(settings).check(session, settings.vapid_key_pair())
    except (*PASSING_ERRORS, ProgrammingError):
        return
    finally:
        engine_of(sessions).dispose()


def payloads_of(settings: Settings) -> Payloads:
    """Return how these settings word push messages."""
    return Payloads(
        PublicUrls(settings.site_url, settings.asset_base_url),
        is_declarative=settings.push_declarative,
        is_padded=settings.push_padding,
    )


def open_pipeline(settings: Settings, policy: EndpointPolicy, *, connections: int = API_CONNECTIONS) -> Pipeline:
    """Return a pipeline over its own connections; `connections` stay open, as many again may be added for a while.

    Connects to nothing yet, but starts the embedded PostgreSQL, or attaches to it, when there is no DATABASE_URL.
    Raises EmbeddedPostgresUnavailable, and OSError when the CA file cannot be read.
    """
    return Pipeline(
        create_sessions(database_url_of(settings), pool_size=connections, max_overflow=connections),
        create_sender(
            settings.push_sender, policy=policy, subject=settings.vapid_subject, ca_file=settings.push_ca_file
        ),
        _keyring_of(settings),
        payloads_of(settings),
        max_per_second=settings.push_max_per_second,
    )


def close_pipeline(pipeline: Pipeline) -> None:
    """Close its connections, to push services and to the database. What is under way ends early."""
    pipeline.sender.close()
    pipeline.inline.shutdown(cancel_futures=True)
    engine_of(pipeline.sessions).dispose()


def _keyring_of(settings: Settings) -> Keyring:
    assert settings.secret_key is not None  # generated in development, required in production
    return Keyring(settings.secret_key.get_secret_value())
