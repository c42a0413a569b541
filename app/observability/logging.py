"""Logs: structlog's and the standard library's, as one stream on standard output.

JSON lines in production, readable lines in development. Every line carries the request's id while one is answered.
"""

import logging
import logging.config
import sys
from typing import Any, TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from app.observability.redaction import Redactor
from app.settings import Settings

REQUEST_ID = "request_id"  # the name in each line; bound by web/access_log.py

# What these say at INFO is noise, or says it a second time.
_QUIET = (
    "sqlalchemy",
    "asyncio",
    "urllib3",
    "httpx",
    "httpcore",
    "watchfiles",
    "python_multipart",
    "alembic.runtime.plugins",
)


def _hand_over(logger: WrappedLogger, method: str, event: EventDict) -> Any:
    """Give the event to the standard library's logger, its exception too: Sentry listens there."""
    arguments, keywords = structlog.stdlib.ProcessorFormatter.wrap_for_formatter(logger, method, event)
    return arguments, {**keywords, "exc_info": event.get("exc_info")}


def _drop_colours(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event.pop("color_message", None)  # uvicorn's message a second time, for its own terminal
    return event


_SHARED_PROCESSORS: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.UnicodeDecoder(),
]
# One list for good: loggers keep the one they were first used with.
_STRUCTLOG_PROCESSORS: list[Processor] = [structlog.stdlib.filter_by_level, *_SHARED_PROCESSORS, _hand_over]


class StandardOutput(logging.StreamHandler[TextIO]):
    """Writes to whatever standard output is at the time: tests and some servers exchange it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stdout


def configure_logging(settings: Settings) -> None:
    """Send all logs of this process through one pipeline. May be called again."""
    logging.config.dictConfig(stdlib_config(settings))
    logging.captureWarnings(True)
    structlog.configure(
        processors=_STRUCTLOG_PROCESSORS,
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def stdlib_config(settings: Settings) -> dict[str, Any]:
    """Return a `logging.config` dictionary; gunicorn's master takes it as its `logconfig_dict`.

    uvicorn's and gunicorn's access logs are off: web/access_log.py writes ours.
    """
    upwards = {"level": "NOTSET", "handlers": [], "propagate": True}
    nowhere = {"handlers": [], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "ours": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": [*_SHARED_PROCESSORS, structlog.stdlib.ExtraAdder(), _drop_colours],
                "processors": _final_processors(settings),
            }
        },
        "handlers": {"stdout": {"()": StandardOutput, "formatter": "ours"}},
        "root": {"level": settings.log_level, "handlers": ["stdout"]},
        "loggers": {
            "uvicorn": upwards,
            "uvicorn.error": upwards,
            "uvicorn.access": nowhere,
            "gunicorn.error": upwards,
            "gunicorn.access": nowhere,
            **{name: {"level": "WARNING"} for name in _QUIET},
        },
    }


def _final_processors(settings: Settings) -> list[Processor]:
    redactor = Redactor(settings.push_extra_hosts)

    def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {name: redactor.member(name, value) for name, value in event.items()}

    renderer: Processor
    if settings.is_production:
        renderer = structlog.processors.JSONRenderer(default=str)
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    return [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        # As plain text: tracebacks with local variables would show endpoints and keys.
        structlog.processors.format_exc_info,
        redact,
        renderer,
    ]
