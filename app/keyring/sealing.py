"""What is derived from SECRET_KEY, and encryption at rest under a key of those: AES-256-GCM."""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.errors import Unavailable

_FORMAT = b"\x01"
_NONCE_BYTES = 12


class CannotUnseal(Unavailable):
    """What is stored was sealed under another SECRET_KEY, or was changed."""

    code = "cannot-unseal"
    title = "A stored secret cannot be opened"


def derived_key(secret_key: str, *, purpose: bytes) -> bytes:
    """Return 32 bytes for one purpose (HKDF, RFC 5869): no two purposes share a key."""
    return HKDF(hashes.SHA256(), length=32, salt=None, info=purpose).derive(secret_key.encode())


class Seal:
    """Seals short secrets. `context` binds each to its place: moved to another row, it no longer opens."""

    def __init__(self, secret_key: str) -> None:
        self._aead = AESGCM(derived_key(secret_key, purpose=b"push keyring at rest v1"))

    def seal(self, secret: bytes, *, context: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return _FORMAT + nonce + self._aead.encrypt(nonce, secret, context)

    def open(self, sealed: bytes, *, context: bytes) -> bytes:
        """Return the secret. Raises CannotUnseal."""
        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            if sealed[:1] != _FORMAT:
                raise InvalidTag
            return self._aead.decrypt(nonce, ciphertext, context)
        except (InvalidTag, ValueError):
            raise CannotUnseal(
                "A VAPID key in the database was sealed under another SECRET_KEY. Start with the SECRET_KEY it"
                " was stored with: without that key its subscribers cannot be reached."
            ) from None
