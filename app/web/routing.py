"""Routes that answer with and without the trailing slash, and methods a path does not have.

The OpenAPI document shows each path in the form it was declared in.
"""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Match
from starlette.types import Scope


class SlashAgnosticRoute(APIRoute):
    """A route that takes its path with or without the trailing slash: no redirect, no lost POST body."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child_scope = super().matches(scope)
        if match is Match.NONE and scope["type"] == "http":
            return super().matches({**scope, "path": _other_form(scope["path"])})
        return match, child_scope


def api_router(*, prefix: str = "", tags: Sequence[str] = (), **options: Any) -> APIRouter:
    """Return a router of slash-agnostic routes. Declare each path in the specification's form."""
    return APIRouter(
        prefix=prefix,
        tags=list(tags),
        route_class=SlashAgnosticRoute,
        generate_unique_id_function=_operation_id,
        **options,
    )


def allowed_methods(app: FastAPI, scope: Scope) -> list[str]:
    """Return the methods that the request's path has on any of its routes, sorted; none if there is no such path.

    Starlette's own answer names only the methods of the first route that matches.
    """
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    forms = (path, _other_form(path))
    methods = {
        method
        for route in iter_route_contexts(app.routes)
        if any(route.path_regex.match(form) for form in forms)
        for method in route.methods or ()
    }
    if methods:
        methods |= {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
    return sorted(methods)


def _operation_id(route: APIRoute) -> str:
    return "_".join([*(str(tag) for tag in route.tags[:1]), route.name])


def _other_form(path: str) -> str:
    """Return the path with the slash at its end taken away or added. Two slashes are no form of one."""
    if path.endswith("//"):
        return path
    return path[:-1] if path.endswith("/") else f"{path}/"
