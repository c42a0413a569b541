"""JWTs of the main application: verified with python-jose, distrusted beforehand.

What the token says about itself decides nothing: algorithms and keys come from the settings. python-jose has had
algorithm-confusion and decompression flaws, so a token must first look like a plain signed one.
"""

import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jose import jwk, jwt
from jose.backends.base import Key
from jose.constants import ALGORITHMS
from jose.exceptions import ExpiredSignatureError, JOSEError, JWTClaimsError
from jose.utils import base64url_decode

from app.errors import Unauthenticated
from app.settings import Settings, SettingsError

MAX_TOKEN_LENGTH = 8 * 1024  # characters; a bigger header is not ours
MAX_USER_ID_LENGTH = 255
KEY_KINDS = {
    **dict.fromkeys(("RS256", "RS384", "RS512"), "RSA"),
    **{"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"},
}


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
        if not settings.jwt_algorithms:
            raise SettingsError("JWT_ALGORITHMS must name at least one algorithm, such as HS256.")
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
            if "Signature" in str(error):
                raise InvalidToken("The token's signature is wrong: it was signed with another key.") from error
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
    """Return the keys of one algorithm: never a public key for HMAC, never a secret for RSA.

    Raises SettingsError.
    """
    if algorithm in ALGORITHMS.HMAC:
        return _secret_keys(algorithm, settings)
    if algorithm in KEY_KINDS:
        return (_public_key(algorithm, settings.jwt_public_key),)
    raise SettingsError(f"JWT_ALGORITHMS: {algorithm} is not HS, RS or ES with 256, 384 or 512.")


def _secret_keys(algorithm: str, settings: Settings) -> tuple[Key, ...]:
    secrets = [secret for secret in (settings.jwt_secret_key, settings.jwt_secret_key_previous) if secret]
    if not secrets:
        raise SettingsError(f"JWT_ALGORITHMS lists {algorithm}, which needs JWT_SECRET_KEY.")
    try:
        return tuple(jwk.construct(secret.get_secret_value(), algorithm) for secret in secrets)
    except JOSEError:
        raise SettingsError(
            "JWT_SECRET_KEY is a public key. Set JWT_PUBLIC_KEY, and JWT_ALGORITHMS to RS256 or ES256."
        ) from None


def _public_key(algorithm: str, pem: str | None) -> Key:
    if not pem:
        raise SettingsError(f"JWT_ALGORITHMS lists {algorithm}, which needs JWT_PUBLIC_KEY (PEM).")
    pem = pem.replace("\\n", "\n")  # in one line, as some ways of setting a variable need it
    try:
        public_key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsError("JWT_PUBLIC_KEY is not a public key in PEM.") from None
    kind = "RSA" if isinstance(public_key, rsa.RSAPublicKey) else ""
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        kind = public_key.curve.name
    if kind != KEY_KINDS[algorithm]:
        raise SettingsError(
            f"JWT_PUBLIC_KEY is no key for {algorithm} (JWT_ALGORITHMS): that needs {KEY_KINDS[algorithm]}."
        )
    return jwk.construct(pem, algorithm)


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
