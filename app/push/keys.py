"""The browser's keys and our application server keys: read in every usual form, written in one.

The canonical form is base64url without padding: of 65 bytes for a public key, 32 for a private one, 16 for
`auth`.
"""

import base64
import binascii
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    derive_private_key,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

_POINT_BYTES = 65
_SCALAR_BYTES = 32
_AUTH_BYTES = 16
_MAX_KEY_CHARACTERS = 4096
_URL_SAFE_TO_PLAIN = bytes.maketrans(b"-_", b"+/")


class InvalidSubscriptionKeys(ValueError):
    """A key of a subscription is not what a browser gives; `field` is p256dh or auth."""

    def __init__(self, field_name: str, problem: str) -> None:
        super().__init__(f"{field_name} {problem}. Send the keys exactly as PushSubscription.toJSON() gave them.")
        self.field = field_name


class InvalidVapidKey(ValueError):
    """An application server key cannot be read, or its two halves do not match. Never says the key."""


def normalise_p256dh(text: str) -> str:
    """Return the browser's public key in canonical form. Raises InvalidSubscriptionKeys if not on P-256."""
    raw = decoded_p256dh(text)
    try:
        EllipticCurvePublicKey.from_encoded_point(SECP256R1(), raw)
    except ValueError:
        raise InvalidSubscriptionKeys("p256dh", "is not a point on the curve P-256") from None
    return encode_base64url(raw)


def normalise_auth(text: str) -> str:
    """Return the browser's authentication secret in canonical form. Raises InvalidSubscriptionKeys."""
    return encode_base64url(decoded_auth(text))


def decoded_p256dh(text: str) -> bytes:
    """Return the 65 bytes of a public key, the point itself unchecked. Raises InvalidSubscriptionKeys."""
    raw = _decoded("p256dh", text)
    if len(raw) != _POINT_BYTES or raw[0] != 4:
        raise InvalidSubscriptionKeys("p256dh", "is not an uncompressed P-256 point of 65 bytes")
    return raw


def decoded_auth(text: str) -> bytes:
    """Return the 16 bytes of an authentication secret. Raises InvalidSubscriptionKeys."""
    raw = _decoded("auth", text)
    if len(raw) != _AUTH_BYTES:
        raise InvalidSubscriptionKeys("auth", f"has {len(raw)} bytes where 16 belong")
    return raw


@dataclass(frozen=True, slots=True)
class VapidKey:
    """An application server key pair (RFC 8292). `public` is canonical; equality and repr see only that."""

    public: str
    _private: EllipticCurvePrivateKey = field(repr=False, compare=False)

    @classmethod
    def generate(cls) -> "VapidKey":
        return cls._of(generate_private_key(SECP256R1()))

    @classmethod
    def load(cls, private: str, public: str | None = None) -> "VapidKey":
        """Read a private key given as base64url (32 raw bytes or DER) or as PEM, SEC1 or PKCS #8.

        With the public half given, too, the two must match. Raises InvalidVapidKey.
        """
        key = cls._of(_load_private(private))
        if public is not None and normalise_application_server_key(public) != key.public:
            raise InvalidVapidKey("The VAPID private key and public key do not belong together.")
        return key

    @classmethod
    def _of(cls, private: EllipticCurvePrivateKey) -> "VapidKey":
        return cls(_encoded_point(private.public_key()), private)

    def export_private(self) -> str:
        """Return the private half in canonical form. It is a secret."""
        scalar = self._private.private_numbers().private_value
        return encode_base64url(scalar.to_bytes(_SCALAR_BYTES, "big"))

    def sign(self, content: bytes) -> bytes:
        """Return the 64 bytes of an ES256 signature (RFC 7518 section 3.4: r and s, not DER)."""
        r, s = decode_dss_signature(self._private.sign(content, ECDSA(hashes.SHA256())))
        return r.to_bytes(_SCALAR_BYTES, "big") + s.to_bytes(_SCALAR_BYTES, "big")


def normalise_application_server_key(public: str) -> str:
    """Return an application server key (base64url of 65 bytes or DER, or PEM) in canonical form.

    Raises InvalidVapidKey.
    """
    try:
        if _is_pem(public):
            key = load_pem_public_key(_pem_bytes(public))
        else:
            raw = decode_base64url(public)
            if len(raw) == _POINT_BYTES:
                key = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), raw)
            else:
                key = load_der_public_key(raw)
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidVapidKey(
            "The VAPID public key is neither base64url of 65 bytes nor PEM, or not a point on P-256."
        ) from None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise InvalidVapidKey("The VAPID public key is not a key on the curve P-256.")
    return _encoded_point(key)


def encode_base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def decode_base64url(text: str) -> bytes:
    """Read base64url or plain base64, padded or not. Raises ValueError for anything else."""
    bare = text.removesuffix("=").removesuffix("=")
    if len(text) > _MAX_KEY_CHARACTERS or not bare.isascii() or "=" in bare:
        raise ValueError("not base64url")
    plain = bare.encode("ascii").translate(_URL_SAFE_TO_PLAIN)
    try:
        return binascii.a2b_base64(plain + b"=" * (-len(plain) % 4), strict_mode=True)
    except binascii.Error:
        raise ValueError("not base64url") from None


def _decoded(field_name: str, text: str) -> bytes:
    try:
        return decode_base64url(text)
    except ValueError:
        raise InvalidSubscriptionKeys(field_name, "is not base64url") from None


def _load_private(text: str) -> EllipticCurvePrivateKey:
    try:
        if _is_pem(text):
            key = load_pem_private_key(_pem_bytes(text), password=None)
        else:
            raw = decode_base64url(text.strip())
            if len(raw) == _SCALAR_BYTES:
                key = derive_private_key(int.from_bytes(raw, "big"), SECP256R1())
            else:
                key = load_der_private_key(raw, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # TypeError: a PEM that wants a password.
        raise InvalidVapidKey(
            "The VAPID private key is neither base64url of 32 bytes, nor DER, nor PEM without a password."
        ) from None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise InvalidVapidKey("The VAPID private key is not a key on the curve P-256.")
    return key


def _is_pem(text: str) -> bool:
    return text.lstrip().startswith("-----BEGIN")


def _pem_bytes(text: str) -> bytes:
    # Env files and compose often carry a PEM on one line, its line ends written as backslash and n.
    return text.strip().replace("\\n", "\n").encode("utf-8")


def _encoded_point(key: EllipticCurvePublicKey) -> str:
    return encode_base64url(key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
