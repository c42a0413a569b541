"""The keys that verify tokens, by algorithm: never a public key for HMAC, never a secret for RSA."""

from collections.abc import Mapping
from functools import lru_cache

from jose import jwk
from jose.backends.base import Key
from jose.constants import ALGORITHMS
from jose.exceptions import JOSEError

from app.settings import Settings, SettingsError
from app.tenants.public_keys import ALGORITHMS as ALGORITHMS_OF_KIND
from app.tenants.public_keys import InvalidPublicKey, PublicKey, read_public_keys

Keys = Mapping[str, tuple[Key, ...]]
KIND_OF_ALGORITHM = {name: kind for kind, names in ALGORITHMS_OF_KIND.items() for name in names}


def keys_of_settings(settings: Settings) -> Keys:
    """Return the keys of each of JWT_ALGORITHMS. Raises SettingsError."""
    if not settings.jwt_algorithms:
        raise SettingsError("JWT_ALGORITHMS must name at least one algorithm, such as HS256.")
    public_keys: tuple[PublicKey, ...] = ()
    if settings.jwt_public_key and any(name in KIND_OF_ALGORITHM for name in settings.jwt_algorithms):
        public_keys = _public_keys(settings.jwt_public_key, settings.jwt_algorithms)
    return {name: _keys_for(name, settings, public_keys) for name in settings.jwt_algorithms}


@lru_cache(maxsize=256)
def keys_of_issuer(pem: str) -> Keys:
    """Return the keys of an issuer with these public keys, each for every algorithm of its kind.

    Raises InvalidPublicKey.
    """
    found = read_public_keys(pem)
    algorithms = dict.fromkeys(algorithm for public_key in found for algorithm in public_key.algorithms)
    return {algorithm: _verifying(algorithm, found) for algorithm in algorithms}


def _public_keys(pem: str, algorithms: tuple[str, ...]) -> tuple[PublicKey, ...]:
    try:
        found = read_public_keys(pem)
    except InvalidPublicKey as error:
        raise SettingsError(f"JWT_PUBLIC_KEY {error}.") from None
    for public_key in found:
        if not set(public_key.algorithms).intersection(algorithms):
            kinds = " or ".join(dict.fromkeys(filter(None, map(KIND_OF_ALGORITHM.get, algorithms))))
            raise SettingsError(
                f"JWT_PUBLIC_KEY holds a key ({public_key.kind}) that none of JWT_ALGORITHMS can use: they need"
                f" {kinds}."
            )
    return found


def _keys_for(algorithm: str, settings: Settings, public_keys: tuple[PublicKey, ...]) -> tuple[Key, ...]:
    if algorithm in ALGORITHMS.HMAC:
        return _secret_keys(algorithm, settings)
    if algorithm not in KIND_OF_ALGORITHM:
        raise SettingsError(f"JWT_ALGORITHMS: {algorithm} is not HS, RS or ES with 256, 384 or 512.")
    keys = _verifying(algorithm, public_keys)
    if not keys:
        kind = KIND_OF_ALGORITHM[algorithm]
        raise SettingsError(f"JWT_ALGORITHMS lists {algorithm}, which needs a JWT_PUBLIC_KEY (PEM) of kind {kind}.")
    return keys


def _verifying(algorithm: str, public_keys: tuple[PublicKey, ...]) -> tuple[Key, ...]:
    keys = [each.key for each in public_keys if algorithm in each.algorithms]
    return tuple(jwk.construct(key, algorithm) for key in keys)  # type: ignore[arg-type]  # the stubs forget these


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
