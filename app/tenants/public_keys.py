"""Public keys that verify JWTs, as operators hand them in: PEM, one key or several one after the other."""

import re
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

MIN_RSA_BITS = 2048  # RFC 7518 section 3.3
MAX_KEYS = 8  # of one issuer: a token is tried with each
ALGORITHMS = {
    "RSA": ("RS256", "RS384", "RS512"),
    "secp256r1": ("ES256",),
    "secp384r1": ("ES384",),
    "secp521r1": ("ES512",),
}

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


class InvalidPublicKey(ValueError):
    """What should be public keys is not; the message completes a sentence that names where they stand."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key, its kind as ALGORITHMS names it, and the algorithms (RFC 7518 section 3.1) that it verifies."""

    kind: str
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey

    @property
    def algorithms(self) -> tuple[str, ...]:
        return ALGORITHMS[self.kind]


def read_public_keys(pem: str) -> tuple[PublicKey, ...]:
    r"""Return the keys of a PEM text, whose line breaks may be written as \n. Raises InvalidPublicKey."""
    text = pem.replace("\\n", "\n")
    labels = [block[1] for block in _BLOCK.finditer(text)]
    if any("PRIVATE" in label for label in labels):
        raise InvalidPublicKey("holds a private key, which belongs to whoever signs. Give the public key")
    if any("PUBLIC" not in label for label in labels):
        raise InvalidPublicKey("holds something other than public keys. Give PEM that begins with BEGIN PUBLIC KEY")
    if not labels or "-----" in _BLOCK.sub("", text):
        raise InvalidPublicKey("is not a public key in PEM")
    if len(labels) > MAX_KEYS:
        raise InvalidPublicKey(f"holds more than {MAX_KEYS} keys")
    return tuple(_read(block[0]) for block in _BLOCK.finditer(text))


def _read(pem: str) -> PublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidPublicKey("is not a public key in PEM") from None
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise InvalidPublicKey(f"holds an RSA key of {key.key_size} bits. {MIN_RSA_BITS} are the least")
        return PublicKey("RSA", key)
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in ALGORITHMS:
        return PublicKey(key.curve.name, key)
    raise InvalidPublicKey("holds a key that is neither RSA nor on the curve P-256, P-384 or P-521")
