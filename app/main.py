"""The application: `create_app()` puts the rooms together, `app` is what uvicorn and gunicorn serve.

Importing this reads the settings and connects to nothing; what a process holds is opened when it starts to serve.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio.to_thread import run_sync
from fastapi import FastAPI
from starlette.middleware import Middleware

from app import __version__
from app.analytics.router import router as analytics_router
from app.db.embedded import EmbeddedPostgresUnavailable
from app.demo.notifications_router import router as demo_notifications_router
from app.demo.router import router as demo_router
from app.errors import DomainError
from app.health.router import router as health_router
from app.keyring.router import router as keyring_router
from app.notifications.events import ProgressFeed
from app.notifications.events_router import router as events_router
from app.notifications.router import router as notifications_router
from app.observability.logging import configure_logging
from app.observability.sentry import configure_sentry
from app.observability.sentry_requests import request_integrations
from app.receipts.router import router as receipts_router
from app.receipts.service import Receipts
from app.runtime import Runtime
from app.settings import Settings, SettingsError, get_settings
from app.subscriptions.replacing_router import router as replacing_router
from app.subscriptions.router import router as subscriptions_router
from app.users.router import router as users_router
from app.web import auth, openapi, problems
from app.web.browser_sdk import sdk
from app.web.docs import documentation
from app.web.limiter import RateLimits, create_limiter
from app.web.middleware import PlainStartupFailure, middleware
from app.web.stopping import find_out_if_stopping
from app.workers.opening import endpoint_policy_of

CANNOT_BOOT = 3  # at this exit code gunicorn stops; at any other it starts the same worker again, for ever
EXPECTED_FAULTS = (SettingsError, EmbeddedPostgresUnavailable, DomainError)  # their message says all
ROUTERS = (
    receipts_router,  # asked most by far, and who stands first is found first
    *(subscriptions_router, replacing_router, notifications_router, events_router, users_router),
    *(analytics_router, health_router, keyring_router),
)
DEMO_ROUTERS = (demo_notifications_router, demo_router)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the service with these settings, by default those of the environment. Raises SettingsError."""
    settings = settings or get_settings()
    configure_logging(settings)
    configure_sentry(settings, integrations=request_integrations())
    app = FastAPI(
        title="Push Notification Service",
        version=__version__,
        description=openapi.DESCRIPTION,
        openapi_url="/openapi.json" if settings.shows_docs else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=[Middleware(PlainStartupFailure, expected=EXPECTED_FAULTS), *middleware(settings)],
        lifespan=_lifespan,
    )
    app.state.settings = settings
    app.state.limiter = create_limiter(settings)
    app.state.rate_limits = RateLimits(settings, app.state.limiter)
    auth.install(app, settings, app.state.rate_limits)
    app.state.endpoint_policy = endpoint_policy_of(settings)
    problems.install(app)
    openapi.install(app)
    for router in (*ROUTERS, sdk()):
        app.include_router(router)
    for router in () if settings.is_production else DEMO_ROUTERS:
        app.include_router(router)
    if settings.shows_docs:
        app.include_router(documentation())
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open what this process holds, and close it in the reverse order.

    A database that is down stops nothing here: requests answer 503 until it is back.
    """
    runtime = Runtime(app.state.settings, app.state.endpoint_policy)
    await run_sync(runtime.start)
    app.state.sessions = runtime.sessions
    app.state.redis = runtime.redis
    app.state.pipeline = runtime.pipeline
    app.state.progress_feed = ProgressFeed(runtime.looking, is_stopping=find_out_if_stopping())
    app.state.receipts = Receipts(
        runtime.sessions, runtime.pipeline.receipt_tokens, kept_days=app.state.settings.log_retention_days
    )
    try:
        yield
    finally:
        await run_sync(app.state.receipts.close)
        await run_sync(runtime.stop)


def _app_of_this_process() -> FastAPI:
    try:
        return create_app()
    except SettingsError as error:
        # The message alone: a traceback would hide what is to be done.
        sys.stderr.write(f"{error}\n")
        sys.exit(CANNOT_BOOT)


app = _app_of_this_process()
