"""The browser SDK at /sdk: files of app/sdk/web, read once, for pages and service workers of any site."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Response

from app.errors import NotFound
from app.web.routing import api_router

SDK_VERSION = "1.0.0"  # of all files together; the scripts name it, too
DIRECTORY = Path(__file__).parents[1] / "sdk" / "web"

# What has its version in its name never changes. The name without is followed by those who do not pin one.
_PINNED = "public, max-age=31536000, immutable"
_NEWEST = "public, max-age=3600"
_MEDIA_TYPES = {".js": "text/javascript", ".ts": "text/plain"}
_FOR_ANY_SITE = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}


class NoSuchSdkFile(NotFound):
    code = "no-such-sdk-file"
    title = "The SDK has no such file"


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    media_type: str
    etag: str


IfNoneMatch = Annotated[str, Header()]


def sdk() -> APIRouter:
    """Return the routes of the files: the newest by name, and by version and name. There is one version, ours."""
    router = api_router(prefix="/sdk", include_in_schema=False)
    files = _read()

    @router.get("/{name}")
    async def get_newest(name: str, if_none_match: IfNoneMatch = "") -> Response:
        return _answer(_find(files, name), _NEWEST, if_none_match)

    @router.get("/{version}/{name}")
    async def get_pinned(version: str, name: str, if_none_match: IfNoneMatch = "") -> Response:
        if version != SDK_VERSION:
            raise NoSuchSdkFile(
                f"This service has version {SDK_VERSION} of the SDK, at /sdk/{SDK_VERSION}/. Who needs another"
                " keeps a copy of its files on the site itself."
            )
        return _answer(_find(files, name), _PINNED, if_none_match)

    return router


def _read() -> Mapping[str, _File]:
    return {
        path.name: _File(
            content := path.read_bytes(),
            _MEDIA_TYPES[path.suffix],
            f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        )
        for path in sorted(DIRECTORY.iterdir())
        if path.suffix in _MEDIA_TYPES
    }


def _find(files: Mapping[str, _File], name: str) -> _File:
    if name not in files:
        raise NoSuchSdkFile(f"The SDK has {', '.join(files)}.")
    return files[name]


def _answer(file: _File, caching: str, if_none_match: str) -> Response:
    """Return the file, or 304 without it when the client has it (RFC 9110 section 13.1.2)."""
    headers = {**_FOR_ANY_SITE, "Cache-Control": caching, "ETag": file.etag}
    known = {each.strip().removeprefix("W/") for each in if_none_match.split(",")}
    if known & {file.etag, "*"}:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)
