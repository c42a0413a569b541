"""Encryption of a push message for one browser: RFC 8291 on RFC 8188's aes128gcm, one record.

Written out here, because this is where a sender's time goes. The curve's two operations (curve.py, libcrypto.py)
are most of it; the rest is kept to what the standard asks for.
"""

import os
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.push.curve import Agreement, Curve, agree
from app.push.keys import InvalidSubscriptionKeys, decoded_auth, decoded_p256dh
from app.push.libcrypto import fastest_curve

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


class Plain(NamedTuple):
    """What is to be encrypted for one browser: at most MAX_PLAINTEXT_BYTES, and its keys in base64url as stored."""

    payload: bytes
    p256dh: str
    auth: str


class _Browser(NamedTuple):
    point: bytes
    auth_secret: bytes


def encrypt(
    payload: bytes,
    *,
    p256dh: str,
    auth: str,
    private_key: EllipticCurvePrivateKey | None = None,
    salt: bytes | None = None,
) -> bytes:
    """Return the body of a push message for the browser that has these keys.

    Each message is encrypted with a key pair and a salt of its own (RFC 8291 section 3.1, RFC 8188 section 2.1);
    only a test that knows the result gives them. Raises InvalidSubscriptionKeys.
    """
    browser = _Browser(decoded_p256dh(p256dh), decoded_auth(auth))
    if private_key is None:
        [agreement] = fastest_curve().agree_with_all([browser.point])
    else:
        agreement = agree(private_key, browser.point)
    if agreement is None:
        raise _not_on_the_curve()
    return _sealed(payload, browser, agreement, salt=salt or os.urandom(SALT_BYTES))


def encrypt_all(plains: Sequence[Plain], *, curve: Curve | None = None) -> list[bytes | InvalidSubscriptionKeys]:
    """Return the bodies of several messages, or what is wrong with a browser's keys, in their order.

    Cheaper than one by one. A key pair and a salt for each, as encrypt does; `curve` is by default the fastest.
    """
    browsers = [_browser(plain) for plain in plains]
    points = [b"" if isinstance(browser, InvalidSubscriptionKeys) else browser.point for browser in browsers]
    agreements = (curve or fastest_curve()).agree_with_all(points)
    salts = os.urandom(SALT_BYTES * len(plains))
    return [
        browser
        if isinstance(browser, InvalidSubscriptionKeys)
        else _not_on_the_curve()
        if agreement is None
        else _sealed(plain.payload, browser, agreement, salt=salts[at : at + SALT_BYTES])
        for plain, browser, agreement, at in zip(
            plains, browsers, agreements, range(0, len(salts), SALT_BYTES), strict=True
        )
    ]


def _browser(plain: Plain) -> _Browser | InvalidSubscriptionKeys:
    try:
        return _Browser(decoded_p256dh(plain.p256dh), decoded_auth(plain.auth))
    except InvalidSubscriptionKeys as error:
        return error


def _not_on_the_curve() -> InvalidSubscriptionKeys:
    return InvalidSubscriptionKeys("p256dh", "is not a point on the curve P-256")


def _sealed(payload: bytes, browser: _Browser, agreement: Agreement, *, salt: bytes) -> bytes:
    own_point, shared_secret = agreement
    shared_key = _hmac(browser.auth_secret, shared_secret)
    input_key = _hmac(shared_key, _KEY_INFO + browser.point + own_point + b"\x01")
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
