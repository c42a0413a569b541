"""The OpenAPI document, made once for all tests that are collected by what it lists."""

from functools import cache
from typing import Any

from app.main import create_app
from tests.support.api import build_settings


@cache
def openapi_document() -> dict[str, Any]:
    return create_app(build_settings()).openapi()


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    """Return method, path and description of everything that the document lists."""
    return [
        (method.upper(), path, operation)
        for path, item in openapi_document()["paths"].items()
        for method, operation in item.items()
    ]
