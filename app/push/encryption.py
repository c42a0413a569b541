"""Encryption of a push message for one browser: RFC 8291 on RFC 8188's aes128gcm, one record.

Written directly on `cryptography`, because this is where a sender's time goes. The curve's two operations are most
of it; the rest is kept to what the standard asks for.
"""

import os
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDH,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.push.keys import InvalidSubscriptionKeys, decoded_auth, decoded_p256dh

SALT_BYTES = 16
_RECORD_BYTES = 4096
_KEY_ID_BYTES = 65
# What stands between the salt and the sender's public key: the record's size and the length of the key id.
_RECORD_AND_KEY_ID_LENGTH = _RECORD_BYTES.to_bytes(4, "big") + bytes([_KEY_ID_BYTES])
_LAST_RECORD = b"\x02"

# HKDF (RFC 5869) with one block of output: the info is followed by the block's number.
_KEY_INFO = b"WebPush: info\0"
_CONTENT_KEY_INFO = b"Content-Encoding: aes128gcm\0\x01"
_NONCE_INFO = b"Content-Encoding: nonce\0\x01"

# HMAC's two pads (RFC 2104), as tables that add them to a key.
_BLOCK_BYTES = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))

_CURVE = SECP256R1()
_ECDH = ECDH()


def encrypt(
    payload: bytes,
    *,
    p256dh: str,
    auth: str,
    private_key: EllipticCurvePrivateKey | None = None,
    salt: bytes | None = None,
) -> bytes:
    """Return the body of a push message for the browser that has these keys, in base64url as stored.

    The payload has at most MAX_PLAINTEXT_BYTES. Each message is encrypted with a key pair and a salt of its own
    (RFC 8291 section 3.1, RFC 8188 section 2.1); only a test that knows the result gives them. Raises
    InvalidSubscriptionKeys.
    """
    peer_point = decoded_p256dh(p256dh)
    auth_secret = decoded_auth(auth)
    try:
        peer = EllipticCurvePublicKey.from_encoded_point(_CURVE, peer_point)
    except ValueError:
        raise InvalidSubscriptionKeys("p256dh", "is not a point on the curve P-256") from None
    private_key = private_key or generate_private_key(_CURVE)
    salt = salt or os.urandom(SALT_BYTES)
    own_point = private_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    shared_key = _hmac(auth_secret, private_key.exchange(_ECDH, peer))
    input_key = _hmac(shared_key, _KEY_INFO + peer_point + own_point + b"\x01")
    record_key = _hmac(salt, input_key)
    content_key = _hmac(record_key, _CONTENT_KEY_INFO)[:16]
    nonce = _hmac(record_key, _NONCE_INFO)[:12]
    record = AESGCM(content_key).encrypt(nonce, payload + _LAST_RECORD, None)
    return salt + _RECORD_AND_KEY_ID_LENGTH + own_point + record


def _hmac(key: bytes, message: bytes) -> bytes:
    """Return the HMAC-SHA-256 for a key of at most 64 bytes.

    The standard library's looks its hash up by name at each call: eight microseconds more for each push message.
    """
    block = key.ljust(_BLOCK_BYTES, b"\0")
    return sha256(block.translate(_OUTER) + sha256(block.translate(_INNER) + message).digest()).digest()
