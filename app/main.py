"""The application: `create_app()` puts the rooms together, `app` is what uvicorn and gunicorn serve.

Importing this reads the settings and connects to nothing; what a process holds is opened when it starts to serve.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from anyio.to_thread import run_sync
from fastapi import FastAPI
from starlette.middleware import Middleware

from app import __version__
from app.db.embedded import EmbeddedPostgresUnavailable
from app.db.session import create_sessions, database_url_of
from app.keyring.router import router as keyring_router
from app.observability.logging import configure_logging
from app.observability.sentry import configure_sentry
from app.push.endpoint import EndpointPolicy
from app.settings import Settings, SettingsError, get_settings
from app.web import openapi, problems
from app.web.client_address import parse_networks
from app.web.middleware import PlainStartupFailure, middleware
from app.web.rate_limit import RateLimits, create_limiter
from app.web.tokens import TokenVerifier

EXPECTED_FAULTS = (SettingsError, EmbeddedPostgresUnavailable)  # their message says all
ROUTERS = (keyring_router,)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the service with these settings, by default those of the environment. Raises SettingsError."""
    settings = settings or get_settings()
    configure_logging(settings)
    configure_sentry(settings)
    app = FastAPI(
        title="Push Notification Service",
        version=__version__,
        description=openapi.DESCRIPTION,
        openapi_url=None if settings.is_production else "/openapi.json",
        redoc_url=None,
        redirect_slashes=False,
        middleware=[Middleware(PlainStartupFailure, expected=EXPECTED_FAULTS), *middleware(settings)],
        lifespan=_lifespan,
    )
    app.state.settings = settings
    app.state.token_verifier = TokenVerifier(settings)
    app.state.trusted_proxies = parse_networks(settings.trusted_proxies)
    app.state.limiter = create_limiter(settings)
    app.state.rate_limits = RateLimits(settings, app.state.limiter)
    app.state.endpoint_policy = EndpointPolicy(
        extra_hosts=frozenset(settings.push_extra_hosts), allow_loopback=settings.push_allow_loopback
    )
    problems.install(app)
    openapi.install(app)
    for router in ROUTERS:
        app.include_router(router)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open what this process holds, and close it in the reverse order.

    A database that is down stops nothing here: requests answer 503 until it is back.
    """
    settings: Settings = app.state.settings
    async with AsyncExitStack() as stack:
        database_url = await run_sync(database_url_of, settings)
        app.state.sessions = sessions = create_sessions(database_url)
        stack.callback(sessions.kw["bind"].dispose)
        yield


def _app_of_this_process() -> FastAPI:
    try:
        return create_app()
    except SettingsError as error:
        sys.exit(f"{error}")  # the message alone: a traceback would hide what is to be done


app = _app_of_this_process()
