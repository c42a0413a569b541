"""Decryption of push messages with http_ece: a library that our own encryption does not use."""

import struct

import http_ece
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec

_HEADER_BYTES = 21
_KEY_BYTES = 65


class Undecryptable(Exception):
    """A browser would drop this message without a word."""


def decrypt(body: bytes, *, private_key: ec.EllipticCurvePrivateKey, auth: bytes) -> bytes:
    """Return the plaintext of an aes128gcm push message.

    Raises Undecryptable also for what http_ece would accept and RFC 8291 section 4 forbids: more than one
    record, or a key id that is not an uncompressed point.
    """
    if len(body) <= _HEADER_BYTES + _KEY_BYTES:
        raise Undecryptable("too short to hold a header and a record")
    record_size, key_length = struct.unpack("!LB", body[16:_HEADER_BYTES])
    if key_length != _KEY_BYTES:
        raise Undecryptable(f"the key id has {key_length} bytes, not 65")
    if len(body) - _HEADER_BYTES - _KEY_BYTES > record_size:
        raise Undecryptable("more than one record")
    try:
        plaintext: bytes = http_ece.decrypt(body, private_key=private_key, auth_secret=auth)
    except (http_ece.ECEException, InvalidTag, ValueError, struct.error) as error:
        raise Undecryptable(str(error) or type(error).__name__) from error
    return plaintext
