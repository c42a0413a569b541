"""The demo page, its service worker, and a token for it. main.py mounts it in development only."""

import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fastapi.responses import FileResponse, RedirectResponse
from jose import jwt
from pydantic import BaseModel

from app.errors import NotFound, Unavailable
from app.settings import Settings
from app.web.deps import SettingsDep
from app.web.routing import api_router

ALGORITHM = "HS256"
ACCESS = "access"  # the kind of token, as djangorestframework-simplejwt writes it
TOKEN_LIFETIME = timedelta(days=30)  # the page's next token is another user's

_FILES = {path.name: path for path in (Path(__file__).parent / "static").iterdir()}
_PAGE = _FILES["index.html"]
_HEADERS = {"Cache-Control": "no-cache"}
# A worker below /demo/ may otherwise not have /demo itself in its scope.
_WORKER_HEADERS = {"Service-Worker-Allowed": "/demo"}

router = api_router(include_in_schema=False)


class DemoToken(BaseModel):
    token: str


class NoDemoToken(Unavailable):
    code = "no-demo-token"
    title = "No token for the demo page"


@router.get("/")
def lead_to_the_page() -> RedirectResponse:
    """Somebody who follows the address that `make run` names should find something there."""
    return RedirectResponse("/demo")


@router.get("/demo")
def show_page() -> FileResponse:
    return FileResponse(_PAGE, headers=_HEADERS)


@router.get("/demo/{name}")
def get_file(name: str) -> FileResponse:
    path = _FILES.get(name)
    if path is None:
        raise NotFound("The demo page has no such file.")
    return FileResponse(path, headers=_HEADERS | _WORKER_HEADERS)


@router.post("/demo/token")
def issue_token(settings: SettingsDep) -> DemoToken:
    """Make a new user up and return a token for them, like the main application's after a login."""
    return DemoToken(token=_sign_for(f"demo-{secrets.token_hex(8)}", settings, now=datetime.now(UTC)))


def _sign_for(user_id: str, settings: Settings, *, now: datetime) -> str:
    """Return an access token in the form of djangorestframework-simplejwt. Raises NoDemoToken."""
    if ALGORITHM not in settings.jwt_algorithms or settings.jwt_secret_key is None:
        raise NoDemoToken(f"JWT_ALGORITHMS does not list {ALGORITHM}, so this service cannot sign tokens itself.")
    claims = {
        "token_type": ACCESS,
        "user_id": user_id,
        "jti": secrets.token_hex(16),
        "iat": now,
        "exp": now + TOKEN_LIFETIME,
    }
    if settings.jwt_issuer is not None:
        claims["iss"] = settings.jwt_issuer
    if settings.jwt_audience is not None:
        claims["aud"] = settings.jwt_audience
    return jwt.encode(claims, settings.jwt_secret_key.get_secret_value(), ALGORITHM)
