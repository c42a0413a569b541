import json
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from app.observability.logging import configure_logging
from app.observability.redaction import MASK
from app.settings import Settings
from tests.support.api import SettingsFactory

ENDPOINT = "https://fcm.googleapis.com/fcm/send/dGVzdA:APA91bSecret"
PRODUCTION = {
    "environment": "production",
    "database_url": "postgresql://push@db/push",
    "vapid_subject": "mailto:push@blog.example.org",
    "push_allow_loopback": "false",
}

log = structlog.stdlib.get_logger("app.somewhere")

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def lines(make_settings: SettingsFactory, capsys: pytest.CaptureFixture[str]) -> Lines:
    """Logs as production does, and reads the lines."""
    configure_logging(make_settings(**PRODUCTION))
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_production_writes_one_json_object_a_line(lines: Lines) -> None:
    structlog.contextvars.bind_contextvars(request_id="r-1")

    log.info("sent", count=3, host="fcm.googleapis.com")

    (line,) = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "sent",
        "level": "info",
        "logger": "app.somewhere",
        "request_id": "r-1",
        "count": 3,
        "host": "fcm.googleapis.com",
    }


def test_the_standard_librarys_logs_look_the_same(lines: Lines) -> None:
    structlog.contextvars.bind_contextvars(request_id="r-1")

    logging.getLogger("alembic.runtime").info("Running upgrade %s -> %s", "0001", "0002", extra={"seconds": 3})

    (line,) = lines()
    assert line["event"] == "Running upgrade 0001 -> 0002"
    assert (line["level"], line["logger"], line["seconds"]) == ("info", "alembic.runtime", 3)
    assert line["request_id"] == "r-1"


@pytest.mark.parametrize("server", ["uvicorn.error", "gunicorn.error"])
def test_the_servers_own_handlers_give_way(server: str, lines: Lines, make_settings: SettingsFactory) -> None:
    logging.getLogger(server).addHandler(logging.StreamHandler())
    configure_logging(make_settings(**PRODUCTION))

    logging.getLogger(server).info("Started server process")

    assert [line["event"] for line in lines()] == ["Started server process"]


def test_the_servers_access_logs_are_off(lines: Lines) -> None:
    logging.getLogger("uvicorn.access").info("GET /subscriptions/secret 200")

    assert lines() == []


def test_levels_below_the_configured_one_are_not_written(lines: Lines) -> None:
    log.debug("details")
    logging.getLogger("sqlalchemy.engine").info("SELECT 1")

    assert lines() == []


def test_warnings_are_logged(lines: Lines) -> None:
    warnings.warn("this will change", DeprecationWarning, stacklevel=1)

    (line,) = lines()
    assert "this will change" in line["event"]
    assert line["logger"] == "py.warnings"


@pytest.mark.parametrize("environment", [PRODUCTION, {}], ids=["production", "development"])
def test_endpoints_and_keys_are_masked_everywhere(
    environment: dict[str, str], make_settings: SettingsFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(make_settings(**environment))
    p256dh = "BLocalVariable"

    try:
        raise ValueError(f"cannot post to {ENDPOINT}")
    except ValueError:
        log.exception("failed", endpoint=ENDPOINT, note=f"at {ENDPOINT}", keys={"p256dh": p256dh})
        logging.getLogger("push").error("failed at %s", ENDPOINT, exc_info=True, extra={"auth": p256dh})

    written = capsys.readouterr().out
    assert "Secret" not in written
    assert "BLocalVariable" not in written
    assert f"fcm.googleapis.com/{MASK}" in written
    assert written.count("Traceback") == 2


def test_development_writes_lines_for_people(
    make_settings: SettingsFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    settings: Settings = make_settings()
    configure_logging(settings)

    log.info("sent", count=3)

    written = capsys.readouterr().out
    assert "sent" in written
    assert "count=3" in written
    assert not written.startswith("{")


def test_logging_may_be_configured_again(lines: Lines, make_settings: SettingsFactory) -> None:
    log.info("before")
    configure_logging(make_settings(**PRODUCTION))
    with structlog.testing.capture_logs() as captured:
        log.info("captured")
    log.info("after")

    assert [line["event"] for line in lines()] == ["before", "after"]
    assert [event["event"] for event in captured] == ["captured"]
