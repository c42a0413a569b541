"""Who is calling: a service with an API key, a user or an anonymous browser with a JWT."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Annotated
from uuid import UUID

from fastapi import Depends, FastAPI, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from app.db.session import SessionFactory
from app.errors import Forbidden, Unauthenticated
from app.settings import Settings
from app.tenants.issuers import Issuer, registered_issuers
from app.tenants.scopes import Scope
from app.web.client_address import (
    IPNetwork,
    is_passed_on_by_a_stranger,
    is_within,
    rate_limit_address,
    request_address,
)
from app.web.deps import SessionsDep
from app.web.failed_logins import FailedLogins
from app.web.key_login import REMEMBERED_SECONDS, KeyLogin
from app.web.limiter import RateLimits
from app.web.remembered import Remembered
from app.web.tokens import Bearer, InvalidToken, TokenExpired, TokenVerifier

api_key_scheme = APIKeyHeader(name="X-API-Key", scheme_name="ApiKey", auto_error=False, description="For services.")
bearer_scheme = HTTPBearer(
    scheme_name="Bearer",
    bearerFormat="JWT",
    auto_error=False,
    description="For browsers: a JWT that the main application signed, such as simplejwt's access token.",
)


class ApiKeyNeeded(Forbidden):
    code = "api-key-needed"
    title = "Only for services"


class NetworkNotAllowed(Forbidden):
    """The API key is good, but tied to networks, and shown from elsewhere."""

    code = "network-not-allowed"
    title = "The API key is not taken from here"


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


class Authenticator:
    """Proves who calls. One belongs to an app; safe to share between threads."""

    def __init__(self, settings: Settings, limits: RateLimits) -> None:
        """Read the keys of the settings. Raises SettingsError."""
        self._failed = FailedLogins(limits)
        self._keys = KeyLogin(settings, self._failed)
        self._tokens = TokenVerifier(settings)
        self._issuers = Remembered[Mapping[str, Issuer]](registered_issuers, seconds=REMEMBERED_SECONDS)

    def service(self, request: Request, sessions: SessionFactory, api_key: str) -> Caller:
        """Return the service that shows this key. Raises InvalidApiKey, RateLimited and NetworkNotAllowed."""
        shown = api_key.encode("latin-1")  # as the header came: ASGI frameworks decode it so
        key = self._keys.find(shown, sessions, address=rate_limit_address(request))
        if key.networks is not None:
            _refuse_from_elsewhere(request, key.networks)
        self._keys.note_use(key, sessions)
        return Caller(key.tenant_id, CallerKind.SERVICE, None, f"key:{key.id or 'default'}", key.scopes)

    def bearer(self, request: Request, sessions: SessionFactory, token: str) -> Caller:
        """Return whom a token names. Raises InvalidToken, RateLimited when too many such came from its address."""
        try:
            bearer = self._tokens.bearer_of(token, lambda: self._issuers.get(sessions))
        except TokenExpired:  # rightly signed once: nobody guesses so
            raise
        except InvalidToken:
            self._failed.count(rate_limit_address(request))
            raise
        return _caller_of(bearer, request)


def install(app: FastAPI, settings: Settings, limits: RateLimits) -> None:
    """Let the app prove who calls. Raises SettingsError when the settings could verify nothing."""
    app.state.authenticator = Authenticator(settings, limits)


def get_caller(
    request: Request,
    sessions: SessionsDep,
    api_key: Annotated[str | None, Security(api_key_scheme)],
    _bearer: Annotated[object, Security(bearer_scheme)],
) -> Caller:
    """Return the proven caller. An API key decides when both are sent. Raises Unauthenticated."""
    authenticator: Authenticator = request.app.state.authenticator
    if api_key:
        return authenticator.service(request, sessions, api_key)
    authorization = request.headers.get("authorization")
    if not authorization:
        raise Unauthenticated("Send an API key in X-API-Key, or a JWT in Authorization: Bearer.")
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise InvalidToken("The Authorization header must be: Bearer, a space, the token.")
    return authenticator.bearer(request, sessions, token.strip())


CallerDep = Annotated[Caller, Depends(get_caller)]


def get_possible_caller(
    request: Request,
    sessions: SessionsDep,
    api_key: Annotated[str | None, Security(api_key_scheme)],
    bearer: Annotated[object, Security(bearer_scheme)],
) -> Caller | None:
    """Return the proven caller, None for a request without credentials. Wrong ones raise Unauthenticated."""
    if not api_key and not request.headers.get("authorization"):
        return None
    return get_caller(request, sessions, api_key, bearer)


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


def _refuse_from_elsewhere(request: Request, networks: Iterable[IPNetwork]) -> None:
    address = request_address(request)
    if not is_within(address, networks):
        raise NetworkNotAllowed(f"This API key is not taken from {address}, where the request comes from.")
    if is_passed_on_by_a_stranger(request):  # a proxy in an allowed network lets the whole world in there
        raise NetworkNotAllowed(
            f"This API key is tied to networks, and the request was passed on by {address}. If that is a proxy of"
            " yours, name it in TRUSTED_PROXIES: what it says of the client is believed then."
        )


def _caller_of(bearer: Bearer, request: Request) -> Caller:
    if bearer.user_id is None:
        return Caller(bearer.tenant_id, CallerKind.ANONYMOUS, None, f"address:{rate_limit_address(request)}")
    return Caller(bearer.tenant_id, CallerKind.USER, bearer.user_id, f"user:{bearer.tenant_id}:{bearer.user_id}")
