"""The API's documentation at /docs: Swagger UI, with all its files from here. Mounted as Settings.shows_docs says.

FastAPI's own page loads them from a CDN, and starts them with a script inside the page. These come with the package
fastapi-offline, of which nothing else is used: without it, there is no documentation page.
"""

from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from app.errors import NotFound
from app.web.routing import api_router

PACKAGE = "fastapi_offline"
SWAGGER_UI_FILES = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")

_HERE = Path(__file__).parent


def documentation() -> APIRouter:
    """Return the routes of the page and its files; none without the package."""
    router = api_router(prefix="/docs", include_in_schema=False)
    swagger_ui = _swagger_ui()
    if swagger_ui is None:
        return router
    files = {"start.js": _HERE / "start.js", **{name: swagger_ui / name for name in SWAGGER_UI_FILES}}

    @router.get("")
    def show_page() -> FileResponse:
        return FileResponse(_HERE / "index.html")

    @router.get("/{name}")
    def get_file(name: str) -> FileResponse:
        path = files.get(name)
        if path is None:
            raise NotFound("The documentation has no such file.")
        return FileResponse(path)

    return router


def _swagger_ui() -> Path | None:
    package = find_spec(PACKAGE)
    return Path(package.origin).parent / "static" if package is not None and package.origin else None
