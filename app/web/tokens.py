"""JWTs of the main application, and of tenants' own: verified with python-jose, distrusted beforehand.

What the token says about itself decides nothing: algorithms and keys come from the settings, or from the tenant
that registered its issuer. python-jose has had algorithm-confusion and decompression flaws, so a token must first
look like a plain signed one.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from jose import jwt
from jose.exceptions import ExpiredSignatureError, JOSEError, JWTClaimsError
from jose.utils import base64url_decode

from app.errors import Unauthenticated
from app.models import DEFAULT_TENANT_ID
from app.settings import Settings
from app.tenants.issuers import Issuer
from app.tenants.public_keys import InvalidPublicKey
from app.web.token_keys import Keys, keys_of_issuer, keys_of_settings

MAX_TOKEN_LENGTH = 8 * 1024  # characters; a bigger header is not ours
MAX_USER_ID_LENGTH = 255


class InvalidToken(Unauthenticated):
    code = "invalid-token"
    title = "The token is not valid"
    challenge = 'Bearer error="invalid_token"'


class TokenExpired(InvalidToken):
    code = "token-expired"
    title = "The token has expired"


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whom a valid token names. No user: an anonymous browser."""

    tenant_id: UUID
    user_id: str | None


class TokenVerifier:
    """Verifies tokens, each with the keys of one signer: those of the settings, or of the issuer it names."""

    def __init__(self, settings: Settings) -> None:
        """Read the keys of the settings, which never change while it lives. Raises SettingsError."""
        self._own = Signer(keys_of_settings(settings), settings.jwt_issuer, settings.jwt_audience)

    def user_of(self, token: str) -> str | None:
        """Return the user that a valid token of the settings' signer names, None if it is for anonymous browsers.

        Raises InvalidToken, saying what is wrong.
        """
        return self._own.user_of(token)

    def bearer_of(self, token: str, registered: Callable[[], Mapping[str, Issuer]]) -> Bearer:
        """Return whom a valid token names, and of which tenant: that which registered its issuer, else the default.

        `registered` gives the issuers of tenants; it is called for tokens that name one. Such an issuer's token is
        verified with its tenant's keys and no others. JWT_ISSUER is the settings' also when a tenant registered it
        earlier. Raises InvalidToken.
        """
        named = _issuer_named_by(token)
        issuer = None if named is None or named == self._own.issuer else registered().get(named)
        if issuer is None:
            return Bearer(DEFAULT_TENANT_ID, self._own.user_of(token))
        try:
            keys = keys_of_issuer(issuer.public_key)
        except InvalidPublicKey:
            raise InvalidToken("The keys registered for the token's issuer cannot be used.") from None
        return Bearer(issuer.tenant_id, Signer(keys, named, self._own.audience).user_of(token))


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs tokens: the keys by algorithm, and what `iss` and `aud` must say, None: whatever they like."""

    keys: Keys
    issuer: str | None
    audience: str | None

    def user_of(self, token: str) -> str | None:
        """Return the user that a valid token names, None if it is for anonymous browsers. Raises InvalidToken."""
        claims = self._verified_claims(token)
        if claims.get("token_type", "access") != "access":
            raise InvalidToken("This is not an access token. Send the access token, not the refresh token.")
        user = claims.get("user_id", claims.get("sub"))
        if user is None:
            if claims.get("push_anonymous") is True:
                return None
            raise InvalidToken("The token names no user: it has neither user_id nor sub, nor push_anonymous: true.")
        return _checked_user_id(user)

    def _verified_claims(self, token: str) -> Mapping[str, Any]:
        algorithm = self._algorithm_of(token)
        options = {
            "require_exp": True,
            "require_iss": self.issuer is not None,
            "require_aud": self.audience is not None,
            "verify_aud": self.audience is not None,
            "verify_sub": False,  # simplejwt has written integers there
            "verify_jti": False,
            "verify_at_hash": False,
        }
        try:
            return jwt.decode(
                token,
                self.keys[algorithm],  # type: ignore[arg-type]  # the stubs forget iterables of keys
                algorithms=[algorithm],
                options=options,
                issuer=self.issuer,
                audience=self.audience,
            )
        except ExpiredSignatureError as error:
            raise TokenExpired("The token has expired. Get a new one and try again.") from error
        except JWTClaimsError as error:
            raise InvalidToken(f"A claim of the token was refused: {_reason(error)}") from error
        except JOSEError as error:
            if "Signature" in str(error):
                raise InvalidToken("The token's signature is wrong: it was signed with another key.") from error
            raise InvalidToken(f"The token was refused: {_reason(error)}") from error
        # A claim of an odd type, such as "exp": Infinity, makes python-jose fail in ways of its own.
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidToken("The token was refused: a claim has a value of the wrong type.") from error

    def _algorithm_of(self, token: str) -> str:
        """Return the algorithm that the token's header names, if it is one of the signer's. Raises InvalidToken."""
        try:
            header = _json_of(_segments_of(token)[0])
        except (ValueError, RecursionError) as error:
            raise InvalidToken("The token is not a JWT: its header cannot be read.") from error
        if not isinstance(header, dict) or "crit" in header:
            raise InvalidToken("The token's header demands something that is not supported.")
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self.keys:
            raise InvalidToken(f"The token's algorithm is not accepted. Sign with {', '.join(self.keys)}.")
        return algorithm


def _issuer_named_by(token: str) -> str | None:
    """Return what the token says in `iss`, if that is a text. Nothing is verified. Raises InvalidToken.

    Of two such members the last one counts, as in python-jose (RFC 7519 section 4).
    """
    try:
        claims = _json_of(_segments_of(token)[1])
    except (ValueError, RecursionError):
        return None
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    return issuer if isinstance(issuer, str) else None


def _segments_of(token: str) -> list[str]:
    """Return the three parts of a token that looks like a signed one. Raises InvalidToken."""
    if len(token) > MAX_TOKEN_LENGTH:
        raise InvalidToken(f"The token is longer than {MAX_TOKEN_LENGTH} characters.")
    segments = token.split(".")
    if len(segments) == 5:
        raise InvalidToken("The token is encrypted (JWE). Only signed tokens are accepted.")
    if len(segments) != 3 or not token.isascii():
        raise InvalidToken("The token is not a JWT: it must have three parts, separated by dots.")
    return segments


def _json_of(segment: str) -> Any:
    return json.loads(base64url_decode(segment.encode("ascii")).decode("utf-8"))


def _checked_user_id(user: object) -> str:
    if isinstance(user, bool) or not isinstance(user, int | str):
        raise InvalidToken("The token's user_id (or sub) must be a string or an integer.")
    user_id = str(user)
    if not 1 <= len(user_id) <= MAX_USER_ID_LENGTH:
        raise InvalidToken(f"The token's user_id (or sub) must have 1 to {MAX_USER_ID_LENGTH} characters.")
    if "\x00" in user_id or any("\ud800" <= character <= "\udfff" for character in user_id):
        raise InvalidToken("The token's user_id (or sub) contains characters that cannot be stored.")
    return user_id


def _reason(error: Exception) -> str:
    return str(error).rstrip(".") + "."
