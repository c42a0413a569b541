"""Routes that answer with and without the trailing slash, and methods a path does not have.

A parameter of the query that stands there twice is refused: who checks it before us may have read the other one.

The OpenAPI document shows each path in the form it was declared in.
"""

from collections.abc import Callable, Coroutine, Sequence, Set
from typing import Any
from urllib.parse import unquote

from fastapi import APIRouter, FastAPI, Request, Response, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Match
from starlette.types import Scope

UNMATCHED = "unmatched"

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class SlashAgnosticRoute(APIRoute):
    """A route that takes its path with or without the trailing slash: no redirect, no lost POST body."""

    spelled_out: Set[str] = frozenset()  # its router's paths without parameters: none of them is an id

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()
        names = {
            each.alias for each in get_flat_params(self.dependant) if isinstance(each.field_info, params.Query)
        }

        async def handle(request: Request) -> Response:
            repeated = [name for name in names if len(request.query_params.getlist(name)) > 1]
            if repeated:
                raise RequestValidationError(
                    [{"loc": ("query", name), "type": "repeated", "msg": "must be given once"} for name in repeated]
                )
            return await handler(request)

        return handle if names else handler

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        path = path_of(scope)
        if self.param_convertors and not self.spelled_out.isdisjoint({path, _other_form(path)}):
            return Match.NONE, {}
        match, child_scope = super().matches(scope)
        if match is Match.NONE:
            return super().matches({**scope, "path": _other_form(scope["path"])})
        return match, child_scope


class EncodedRoute(SlashAgnosticRoute):
    """One that reads the path as it came: an encoded slash belongs to the parameter, and divides nothing."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        raw_path: bytes | None = scope.get("raw_path")
        if raw_path is None:
            return super().matches(scope)
        match, child_scope = super().matches({**scope, "path": raw_path.decode("latin-1")})
        if match is Match.NONE:
            return match, child_scope
        try:
            decoded = {name: unquote(value, errors="strict") for name, value in child_scope["path_params"].items()}
        except UnicodeDecodeError:  # it names nothing: with a replacement character it might name something else
            return Match.NONE, {}
        return match, {**child_scope, "path_params": decoded}


class SlashAgnosticRouter(APIRouter):
    """A router of such routes. In it "/send/" is never taken for an "/{id}/", whatever the method or the order."""

    def __init__(self, *, route_class: type[SlashAgnosticRoute] = SlashAgnosticRoute, **options: Any) -> None:
        super().__init__(route_class=route_class, generate_unique_id_function=_operation_id, **options)
        self.spelled_out: set[str] = set()

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().add_api_route(path, endpoint, **options)
        route = self.routes[-1]
        assert isinstance(route, SlashAgnosticRoute)
        if not route.param_convertors:
            self.spelled_out.add(route.path)
        route.spelled_out = self.spelled_out


def api_router(*, prefix: str = "", tags: Sequence[str] = (), **options: Any) -> APIRouter:
    """Return a router of slash-agnostic routes. Declare each path in the specification's form."""
    return SlashAgnosticRouter(prefix=prefix, tags=list(tags), **options)


def allowed_methods(app: FastAPI, scope: Scope) -> list[str]:
    """Return the methods that the request's path has, sorted; none if there is no such path.

    Starlette's own answer names only those of the first route that matches.
    """
    raw_path: bytes = scope.get("raw_path") or b""
    paths = (path_of(scope), raw_path.decode("latin-1"))
    forms = [form for path in paths for form in (path, _other_form(path))]
    found = [each for each in iter_route_contexts(app.routes) if any(each.path_regex.match(form) for form in forms)]
    if any(not each.param_convertors for each in found):
        found = [each for each in found if not each.param_convertors]
    methods = {method for each in found for method in each.methods or ()}
    if methods:
        methods |= {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
    return sorted(methods)


def route_template(scope: Scope) -> str:
    """Return the template of the route that took the request, with its router's prefix, or "unmatched"."""
    # FastAPI keeps a route of an included router there; in scope["route"] it stands without the prefix.
    included = scope.get("fastapi", {}).get("effective_route_context")
    for route in (included, scope.get("route")):
        template = getattr(route, "path_format", None) or getattr(route, "path", None)
        if template:
            return str(template)
    return UNMATCHED


def path_of(scope: Scope) -> str:
    """Return the path without what a server in front has put before it."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _operation_id(route: APIRoute) -> str:
    return "_".join([*(str(tag) for tag in route.tags[:1]), route.name])


def _other_form(path: str) -> str:
    """Return the path with the slash at its end taken away or added. Two slashes are no form of one."""
    if path.endswith("//"):
        return path
    return path[:-1] if path.endswith("/") else f"{path}/"
