"""Who is calling: a service with an API key, a user or an anonymous browser with a JWT."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.errors import Forbidden, Unauthenticated
from app.models import DEFAULT_TENANT_ID, ApiKey
from app.tenants.scopes import ALL_SCOPES, Scope
from app.web.client_address import rate_limit_address
from app.web.deps import SessionsDep, SettingsDep
from app.web.tokens import InvalidToken, TokenVerifier

api_key_scheme = APIKeyHeader(name="X-API-Key", scheme_name="ApiKey", auto_error=False, description="For services.")
bearer_scheme = HTTPBearer(
    scheme_name="Bearer",
    bearerFormat="JWT",
    auto_error=False,
    description="For browsers: a JWT that the main application signed, such as simplejwt's access token.",
)


class InvalidApiKey(Unauthenticated):
    code = "invalid-api-key"
    title = "The API key is not valid"


class ApiKeyNeeded(Forbidden):
    code = "api-key-needed"
    title = "Only for services"


class ScopeMissing(Forbidden):
    """The API key is good, but not for this. The problem's `scope` names what it lacks."""

    code = "scope-missing"
    title = "The API key may not do this"


class CallerKind(StrEnum):
    SERVICE = "service"
    USER = "user"
    ANONYMOUS = "anonymous"


@dataclass(frozen=True)
class Caller:
    """Whoever sent the request, once proven.

    `user_id` is set for users only, `scopes` for services only. `rate_key` is what rate limits count by: the API
    key, else the user, else the client's address.
    """

    tenant_id: UUID
    kind: CallerKind
    user_id: str | None
    rate_key: str
    scopes: frozenset[Scope] = frozenset()


def get_caller(
    request: Request,
    settings: SettingsDep,
    sessions: SessionsDep,
    api_key: Annotated[str | None, Security(api_key_scheme)],
    _bearer: Annotated[object, Security(bearer_scheme)],
) -> Caller:
    """Return the proven caller. An API key decides when both are sent. Raises Unauthenticated."""
    if api_key:
        assert settings.api_key is not None
        if _same(api_key, settings.api_key.get_secret_value()):
            return Caller(DEFAULT_TENANT_ID, CallerKind.SERVICE, None, "key:default", ALL_SCOPES)
        with transaction(sessions) as session:
            return _service_of(session, api_key)
    authorization = request.headers.get("authorization")
    if not authorization:
        raise Unauthenticated("Send an API key in X-API-Key, or a JWT in Authorization: Bearer.")
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise InvalidToken("The Authorization header must be: Bearer, a space, the token.")
    verifier: TokenVerifier = request.app.state.token_verifier
    user_id = verifier.user_of(token.strip())
    if user_id is None:
        address = rate_limit_address(request)
        return Caller(DEFAULT_TENANT_ID, CallerKind.ANONYMOUS, None, rate_key=f"address:{address}")
    return Caller(DEFAULT_TENANT_ID, CallerKind.USER, user_id, rate_key=f"user:{DEFAULT_TENANT_ID}:{user_id}")


CallerDep = Annotated[Caller, Depends(get_caller)]


def get_possible_caller(
    request: Request,
    settings: SettingsDep,
    sessions: SessionsDep,
    api_key: Annotated[str | None, Security(api_key_scheme)],
    bearer: Annotated[object, Security(bearer_scheme)],
) -> Caller | None:
    """Return the proven caller, None for a request without credentials. Wrong ones raise Unauthenticated."""
    if not api_key and not request.headers.get("authorization"):
        return None
    return get_caller(request, settings, sessions, api_key, bearer)


PossibleCallerDep = Annotated[Caller | None, Depends(get_possible_caller)]


@lru_cache
def require(scope: Scope) -> Callable[[CallerDep], Caller]:
    """Return the dependency that lets users pass, and services whose key has the scope.

    `caller: Annotated[Caller, Depends(require(Scope.READ))]`. Raises ScopeMissing.
    """

    def check(caller: CallerDep) -> Caller:
        if caller.kind is CallerKind.SERVICE and scope not in caller.scopes:
            raise ScopeMissing(
                f"This API key lacks the scope {scope}. Use one that has it: python -m app.cli api-keys create.",
                scope=scope.value,
            )
        return caller

    return check


@lru_cache
def require_service(scope: Scope) -> Callable[..., Caller]:
    """Return the dependency that lets only services pass, and those whose key has the scope.

    Raises ApiKeyNeeded for a JWT, and ScopeMissing.
    """

    def check(caller: CallerDep) -> Caller:
        if caller.kind is not CallerKind.SERVICE:
            raise ApiKeyNeeded("A JWT reaches its own subscriptions only. Use an API key here.")
        return require(scope)(caller)

    return check


SenderDep = Annotated[Caller, Depends(require_service(Scope.SEND))]
ReaderDep = Annotated[Caller, Depends(require_service(Scope.READ))]
ManagerDep = Annotated[Caller, Depends(require_service(Scope.MANAGE))]


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(_bytes_of(given), expected.encode())


def _service_of(session: Session, api_key: str) -> Caller:
    digest = hashlib.sha256(_bytes_of(api_key)).digest()
    found = session.execute(
        select(ApiKey.id, ApiKey.tenant_id, ApiKey.scopes).where(
            ApiKey.key_hash == digest, ApiKey.revoked_at.is_(None)
        )
    ).one_or_none()
    if found is None:
        raise InvalidApiKey("X-API-Key is unknown or revoked.")
    scopes = ALL_SCOPES.intersection(found.scopes)
    return Caller(found.tenant_id, CallerKind.SERVICE, None, f"key:{found.id}", scopes)


def _bytes_of(header: str) -> bytes:
    return header.encode("latin-1")  # as the header came: ASGI frameworks decode it so
