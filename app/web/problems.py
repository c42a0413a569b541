"""Errors as RFC 9457 problem documents: the one table from domain errors to HTTP, and the handlers.

A problem tells the caller what to do. It never repeats the input, and a fault of ours shows no details.
"""

import json
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy import exc as database_errors
from starlette.exceptions import HTTPException
from starlette.types import Scope

from app import errors
from app.db.session import PASSING_ERRORS
from app.web.routing import allowed_methods, route_template

PROBLEM_MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5  # what a 503 asks for when nobody knows better
RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}}}
MAX_LISTED_ERRORS = 20
MAX_POINTER_LENGTH = 200
MAX_NAME_LENGTH = 64

HTTP_STATUS: dict[type[errors.DomainError], int] = {
    errors.Invalid: 422,
    errors.TooLarge: 413,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.PreconditionFailed: 412,
    errors.RateLimited: 429,
    errors.Unavailable: 503,
    errors.DomainError: 400,
}

UNDEFINED_TABLE = "42P01"

_log = structlog.get_logger(__name__)


def problem_response(
    status: int,
    *,
    code: str,
    title: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    extensions: Mapping[str, Any] | None = None,
) -> Response:
    """Return a problem document, with the request's id when there is one."""
    document: dict[str, Any] = dict(extensions or {})
    document |= {"type": f"/problems/{code}", "title": title, "status": status, "detail": detail}
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    if request_id:
        document["request_id"] = request_id
    # A lone surrogate becomes its JSON escape again instead of an encoding error.
    body = json.dumps(document, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace")
    return Response(body, status, dict(headers or {}), media_type=PROBLEM_MEDIA_TYPE)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses=` of a route that answers problems with these statuses."""
    return {status: _described(status) for status in statuses}


def _described(status: int) -> dict[str, Any]:
    description: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status in {429, 503}:
        description["headers"] = RETRY_AFTER
    return description


def status_of(error: errors.DomainError) -> int:
    """Return the HTTP status of a domain error: its own line in the table, or that of its nearest ancestor."""
    return next(HTTP_STATUS[kind] for kind in type(error).__mro__ if kind in HTTP_STATUS)


def install(app: FastAPI) -> None:
    """Make every error of the app a problem document."""
    app.add_exception_handler(errors.DomainError, _domain_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    for kind in (*PASSING_ERRORS, database_errors.DBAPIError):
        app.add_exception_handler(kind, _database_error)


async def _domain_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.DomainError)
    status = status_of(error)
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = getattr(error, "challenge", "Bearer")
    retry_after_seconds = getattr(error, "retry_after_seconds", RETRY_AFTER_SECONDS if status == 503 else None)
    if retry_after_seconds is not None:
        headers["Retry-After"] = str(retry_after_seconds)
    return problem_response(
        status,
        code=error.code,
        title=error.title,
        detail=error.detail,
        headers=headers,
        extensions=error.extensions,
    )


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(item["type"] == "json_invalid" for item in found):
        return _malformed_json()
    is_unread = any(item["loc"] == ("body",) and item["type"] != "missing" for item in found)
    if is_unread and "json" not in request.headers.get("content-type", ""):
        return problem_response(
            415,
            code="unsupported-media-type",
            title="Not JSON",
            detail="Send the body as JSON, with the header Content-Type: application/json.",
        )
    listed = [_describe(item) for item in found[:MAX_LISTED_ERRORS]]
    return problem_response(
        422,
        code=errors.Invalid.code,
        title=errors.Invalid.title,
        detail="; ".join(f"{item['pointer'] or item['location']}: {item['message']}" for item in listed[:3]),
        extensions={"errors": listed},
    )


def _describe(item: Mapping[str, Any]) -> dict[str, str]:
    location, *path = item["loc"]
    pointer = "".join(f"/{_named(part)}" for part in path)
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "too_long" and isinstance(item["input"], str):  # pydantic speaks of items
        message = f"must have at most {item['ctx']['max_length']} characters"
    return {"location": str(location), "pointer": pointer[:MAX_POINTER_LENGTH], "message": message}


def _named(part: object) -> str:
    """Return a part of a JSON Pointer. The name of an unknown member is input: a long one may be an endpoint."""
    name = str(part)
    return name.replace("~", "~0").replace("/", "~1") if len(name) <= MAX_NAME_LENGTH else "…"


def _malformed_json() -> Response:
    return problem_response(
        400,
        code="malformed-json",
        title="Malformed JSON",
        detail="The body is not well-formed JSON in UTF-8.",
    )


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    detail = str(error.detail)
    if error.status_code == 400:  # FastAPI's answer to a body it cannot decode or parse
        return _malformed_json()
    if error.status_code == 413:
        kind = errors.TooLarge
        return problem_response(413, code=kind.code, title=kind.title, detail=detail, headers=headers)
    if error.status_code == 404:
        detail = "There is nothing at this address."
    if error.status_code == 405:
        methods = allowed_methods(request.app, request.scope)
        headers = {"Allow": ", ".join(methods)}
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
        detail = f"This address takes {headers['Allow']}."
    phrase = HTTPStatus(error.status_code).phrase
    return problem_response(
        error.status_code,
        code=phrase.lower().replace(" ", "-"),
        title=phrase,
        detail=detail,
        headers=headers,
    )


async def _database_error(request: Request, error: Exception) -> Response:
    """Answer 503 while the database cannot be reached, gives up on a statement, or lacks its tables.

    Anything else is our fault.
    """
    facts = _database_facts(error)
    is_down = isinstance(error, PASSING_ERRORS) or getattr(error, "connection_invalidated", False)
    lacks_tables = facts.get("sqlstate") == UNDEFINED_TABLE
    if not is_down and not lacks_tables:
        return internal_error(request.scope, error)
    if lacks_tables:
        facts["hint"] = "the tables are not there: run alembic upgrade head"
    _log.error("database unavailable", error=type(error).__name__, **facts)
    return problem_response(
        503,
        code=errors.Unavailable.code,
        title=errors.Unavailable.title,
        detail="The database cannot be used just now. Try again shortly.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def internal_error(scope: Scope, error: BaseException) -> Response:
    """Log an error nobody expected, which reports it to Sentry; return a 500 that tells only its request id."""
    route = route_template(scope)  # not the path, which can name a person
    if isinstance(error, database_errors.SQLAlchemyError):
        _log.error("request failed", route=route, error=type(error).__name__, **_database_facts(error))
    else:
        _log.error("request failed", route=route, exc_info=error)
    return problem_response(
        500,
        code="internal-error",
        title="Internal error",
        detail="This is our fault, and it has been logged. Name the request id when you report it.",
    )


def _database_facts(error: BaseException) -> dict[str, str]:
    """Return what may be logged of a database error: not its text, which can hold endpoints and keys."""
    original = getattr(error, "orig", None)
    diagnosis = getattr(original, "diag", None)
    frames = traceback.extract_tb(error.__traceback__)
    facts = {
        "sqlstate": getattr(original, "pgcode", None),
        "table": getattr(diagnosis, "table_name", None),
        "constraint": getattr(diagnosis, "constraint_name", None),
        "frames": " > ".join(
            f"{Path(each.filename).name}:{each.lineno}" for each in frames if "site-packages" not in each.filename
        ),
    }
    return {name: value for name, value in facts.items() if value}
