"""The browser SDK at /sdk: its files, read once, for pages and service workers of any site.

app/sdk/web has the newest version, app/sdk/<version> each that was released before: the pages of a site, and the
service workers in its visitors' browsers, go on naming theirs when this service is upgraded.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Response

from app.errors import NotFound
from app.web.routing import api_router

SDK_VERSION = "1.0.0"  # of all files of the newest together; the scripts name it, too
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


def sdk(newest: Path = DIRECTORY) -> APIRouter:
    """Return the routes of the files: those of the newest version by name, and all by version and name."""
    router = api_router(prefix="/sdk", include_in_schema=False)
    files = _read(newest)
    versions = {SDK_VERSION: files} | {path.name: _read(path) for path in newest.parent.glob("[0-9]*")}

    @router.get("/{name}")
    async def get_newest(name: str, if_none_match: IfNoneMatch = "") -> Response:
        return _answer(_find(files, name), _NEWEST, if_none_match)

    @router.get("/{version}/{name}")
    async def get_pinned(version: str, name: str, if_none_match: IfNoneMatch = "") -> Response:
        if version not in versions:
            raise NoSuchSdkFile(f"This service has the SDK at {', '.join(f'/sdk/{each}/' for each in versions)}.")
        return _answer(_find(versions[version], name), _PINNED, if_none_match)

    return router


def _read(directory: Path) -> Mapping[str, _File]:
    return {
        path.name: _File(
            content := path.read_bytes(),
            _MEDIA_TYPES[path.suffix],
            f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        )
        for path in sorted(directory.iterdir())
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
