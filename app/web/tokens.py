"""JWTs of the main application: verified with python-jose, distrusted beforehand.

What the token says about itself decides nothing: algorithms and keys come from the settings. python-jose has had
algorithm-confusion and decompression flaws, so a token must first look like a plain signed one.
"""

import json
from collections.abc import Mapping
from typing import Any

from jose import jwk, jwt
from jose.backends.base import Key
from jose.constants import ALGORITHMS
from jose.exceptions import ExpiredSignatureError, JOSEError, JWTClaimsError
from jose.utils import base64url_decode

from app.errors import Unauthenticated
from app.settings import Settings, SettingsError

MAX_TOKEN_LENGTH = 8 * 1024  # characters; a bigger header is not ours
MAX_USER_ID_LENGTH = 255
ASYMMETRIC = ALGORITHMS.RSA | ALGORITHMS.EC


class InvalidToken(Unauthenticated):
    code = "invalid-token"
    title = "The token is not valid"
    challenge = 'Bearer error="invalid_token"'


class TokenExpired(InvalidToken):
    code = "token-expired"
    title = "The token has expired"


class TokenVerifier:
    """Verifies tokens with the algorithms and keys of the settings, which never change while it lives."""

    def __init__(self, settings: Settings) -> None:
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience
        self._keys = {name: _keys_for(name, settings) for name in settings.jwt_algorithms}

    def user_of(self, token: str) -> str | None:
        """Return the user that a valid token names, None if it is one for anonymous browsers.

        Raises InvalidToken, saying what is wrong.
        """
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
            "require_iss": self._issuer is not None,
            "require_aud": self._audience is not None,
            "verify_aud": self._audience is not None,
            "verify_sub": False,  # simplejwt has written integers there
            "verify_jti": False,
            "verify_at_hash": False,
        }
        try:
            return jwt.decode(
                token,
                self._keys[algorithm],  # type: ignore[arg-type]  # the stubs forget iterables of keys
                algorithms=[algorithm],
                options=options,
                issuer=self._issuer,
                audience=self._audience,
            )
        except ExpiredSignatureError as error:
            raise TokenExpired("The token has expired. Get a new one and try again.") from error
        except JWTClaimsError as error:
            raise InvalidToken(f"A claim of the token was refused: {_reason(error)}") from error
        except JOSEError as error:
            raise InvalidToken(f"The token was refused: {_reason(error)}") from error
        # A claim of an odd type, such as "exp": Infinity, makes python-jose fail in ways of its own.
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidToken("The token was refused: a claim has a value of the wrong type.") from error

    def _algorithm_of(self, token: str) -> str:
        """Return the pinned algorithm that the token's header names. Raises InvalidToken."""
        if len(token) > MAX_TOKEN_LENGTH:
            raise InvalidToken(f"The token is longer than {MAX_TOKEN_LENGTH} characters.")
        segments = token.split(".")
        if len(segments) == 5:
            raise InvalidToken("The token is encrypted (JWE). Only signed tokens are accepted.")
        if len(segments) != 3 or not token.isascii():
            raise InvalidToken("The token is not a JWT: it must have three parts, separated by dots.")
        try:
            header = json.loads(base64url_decode(segments[0].encode("ascii")))
        except (ValueError, RecursionError) as error:
            raise InvalidToken("The token is not a JWT: its header cannot be read.") from error
        if not isinstance(header, dict) or "crit" in header:
            raise InvalidToken("The token's header demands something that is not supported.")
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._keys:
            raise InvalidToken(f"The token's algorithm is not accepted. Sign with {', '.join(self._keys)}.")
        return algorithm


def _keys_for(algorithm: str, settings: Settings) -> tuple[Key, ...]:
    """Return the keys of one algorithm: never a public key for HMAC, never a secret for RSA."""
    try:
        if algorithm in ALGORITHMS.HMAC:
            secrets = [settings.jwt_secret_key, settings.jwt_secret_key_previous]
            keys = [jwk.construct(secret.get_secret_value(), algorithm) for secret in secrets if secret]
        elif algorithm in ASYMMETRIC:
            public_key = (settings.jwt_public_key or "").replace("\\n", "\n")
            keys = [jwk.construct(public_key, algorithm)] if public_key else []
        else:
            raise SettingsError(f"JWT_ALGORITHMS: {algorithm} is not HS, RS or ES with 256, 384 or 512.")
    except JOSEError:
        source = "JWT_SECRET_KEY" if algorithm in ALGORITHMS.HMAC else "JWT_PUBLIC_KEY"
        raise SettingsError(f"{source} cannot be used with {algorithm} (JWT_ALGORITHMS).") from None
    if not keys:
        needed = "JWT_SECRET_KEY" if algorithm in ALGORITHMS.HMAC else "JWT_PUBLIC_KEY (PEM)"
        raise SettingsError(f"JWT_ALGORITHMS lists {algorithm}, which needs {needed}.")
    return tuple(keys)


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
