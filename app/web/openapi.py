"""The OpenAPI document: what FastAPI derives, with errors as they really are, problem documents.

Routes declare the problems of their own (404, 409, 429 ...). What the edge answers on any route is added here.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.web.links import add_links
from app.web.problems import problem_responses

DESCRIPTION = """\
Keeps web push subscriptions, sends notifications to them, and logs every delivery.

- **Services** authenticate with `X-API-Key`. A key does what its scopes name: `send`, `read`, `manage`.
- **Browsers** authenticate with the JWT of the main application, and reach their own subscriptions only.
- **Errors** are problem documents (RFC 9457, `application/problem+json`).
- **Paths** answer with and without the trailing slash.
"""

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "What went wrong and what to do about it (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "`/problems/` and a code for programs."},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "What the caller can do."},
        "request_id": {"type": "string", "description": "Names the request in our logs."},
        "errors": {
            "type": "array",
            "description": "Each member of the request that was refused.",
            "items": {
                "type": "object",
                "required": ["location", "pointer", "message"],
                "properties": {
                    "location": {"enum": ["body", "query", "path", "header", "cookie"]},
                    "pointer": {"type": "string", "description": "JSON Pointer (RFC 6901)."},
                    "message": {"type": "string"},
                },
            },
        },
    },
}


def install(app: FastAPI) -> None:
    """Make the app's OpenAPI document ours."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way


def _document(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    components = schema.setdefault("components", {}).setdefault("schemas", {})
    components["Problem"] = PROBLEM_SCHEMA
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    for path in schema["paths"].values():
        for operation in path.values():
            _complete(operation)
    add_links(schema)
    return schema


def _complete(operation: dict[str, Any]) -> None:
    """Add the answers that the edge gives in front of any handler."""
    statuses = {500, 503}
    if operation.get("security"):
        statuses |= {401, 403, 429}  # 429: too many wrong credentials
    if operation.get("parameters"):
        statuses |= {422}
    if operation.get("requestBody"):
        statuses |= {400, 413, 415, 422}
    responses = operation["responses"]
    for status, response in problem_responses(*statuses).items():
        if _is_from_fastapi(responses.get(str(status))):
            responses[str(status)] = response
    operation["responses"] = dict(sorted(responses.items()))
    for response in responses.values():
        for content in response.get("content", {}).values():
            if "itemSchema" in content:  # FastAPI takes a stream of events for one text
                content.pop("schema", None)


def _is_from_fastapi(response: dict[str, Any] | None) -> bool:
    return response is None or "HTTPValidationError" in str(response)
