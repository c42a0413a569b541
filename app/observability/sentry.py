"""Error reports to Sentry, when SENTRY_DSN is set. Nothing secret leaves: no bodies, no endpoints, no credentials.

Only the integrations named here are used. Sentry's default ones would watch outgoing requests too, and so see
endpoints and send our trace headers to push services.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import sentry_sdk
import structlog
from sentry_sdk.integrations import Integration
from sentry_sdk.integrations.atexit import AtexitIntegration
from sentry_sdk.integrations.dedupe import DedupeIntegration
from sentry_sdk.integrations.excepthook import ExcepthookIntegration
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.integrations.sqlalchemy import SqlalchemyIntegration
from sentry_sdk.integrations.threading import ThreadingIntegration
from sentry_sdk.transport import Transport
from sentry_sdk.types import Event, Hint

from app import __version__
from app.errors import DomainError
from app.observability.logging import REQUEST_ID
from app.observability.redaction import Redactor
from app.settings import Settings

TRACES_SAMPLE_RATE = 0.05
_UNTRACED = ("/health", "/metrics")
_HARMLESS_HEADERS = frozenset({"accept", "content-length", "content-type", "host", "user-agent", "x-request-id"})


def configure_sentry(
    settings: Settings,
    *,
    integrations: Sequence[Integration] = (),
    transport: Transport | type[Transport] | None = None,
) -> bool:
    """Start reporting if a DSN is set, and tell whether it is. `transport` replaces the network in tests.

    A process that answers requests adds the `integrations` of sentry_requests.py; a worker does without FastAPI.
    """
    if not settings.sentry_dsn:
        return False
    scrub = _scrubber(Redactor(settings.push_extra_hosts))
    sentry_sdk.init(
        dsn=settings.sentry_dsn,
        release=f"push-notification-service@{__version__}",
        environment=settings.environment.value,
        transport=transport,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[
            AtexitIntegration(callback=lambda *_: None),
            DedupeIntegration(),
            ExcepthookIntegration(),
            ThreadingIntegration(),
            LoggingIntegration(level=None, event_level=logging.ERROR, sentry_logs_level=None),
            SqlalchemyIntegration(),
            *integrations,
        ],
        traces_sampler=_sample_rate,
        trace_propagation_targets=[],
        # Nothing personal either: that needs send_default_pii or data_collection, which are left out on purpose.
        max_request_body_size="never",
        include_local_variables=False,
        include_source_context=True,
        before_send=scrub,
        before_send_transaction=scrub,
        before_breadcrumb=lambda _crumb, _hint: None,
    )
    return True


def _sample_rate(context: dict[str, Any]) -> float:
    path = context.get("asgi_scope", {}).get("path", "")
    return 0.0 if path.startswith(_UNTRACED) else TRACES_SAMPLE_RATE


def _scrubber(redactor: Redactor) -> Callable[[Event, Hint], Event | None]:
    def scrub(event: Event, hint: Hint) -> Event | None:
        error = (hint.get("exc_info") or (None, None))[1]
        if isinstance(error, DomainError):  # refused on purpose
            return None
        _use_the_logged_event(event, hint)
        _name_no_path(event)
        _keep_the_harmless_of_the_request(event)
        request_id = structlog.contextvars.get_contextvars().get(REQUEST_ID)
        if request_id:
            event.setdefault("tags", {})[REQUEST_ID] = request_id
        redacted: Event = redactor.value(event)
        return redacted

    return scrub


def _use_the_logged_event(event: Event, hint: Hint) -> None:
    """Make a structlog event readable: to Sentry its message is a dictionary's repr."""
    logged = getattr(hint.get("log_record"), "msg", None)
    if isinstance(logged, dict):
        event["logentry"] = {"message": str(logged.get("event", "")), "params": []}
        skipped = {"event", "exc_info", "level", "logger", "timestamp", REQUEST_ID}
        event["extra"] = {name: value for name, value in logged.items() if name not in skipped}


def _name_no_path(event: Event) -> None:
    """Keep the name of a route; where none was found, Sentry takes the path, which may hold anything."""
    if (event.get("transaction_info") or {}).get("source") == "url":
        event["transaction"] = "unmatched"


def _keep_the_harmless_of_the_request(event: Event) -> None:
    request: dict[str, Any] | None = event.get("request")
    if request:
        headers = request.get("headers") or {}
        event["request"] = {
            "method": request.get("method"),
            "headers": {name: value for name, value in headers.items() if name.lower() in _HARMLESS_HEADERS},
        }
