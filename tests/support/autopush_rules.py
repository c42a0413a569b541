"""What autopush asks of a sender's POST, and the status and errno it refuses with.

Source: https://mozilla-services.github.io/autopush-rs/errors.html. Written without the service's own push
code, so that the two can disagree.
"""

import base64
import string
import time
from collections.abc import Mapping

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec

MAX_BODY_BYTES = 4096
MAX_VAPID_LIFETIME_SECONDS = 24 * 3600
TOPIC_CHARACTERS = frozenset(string.ascii_letters + string.digits + "-_")


class Refused(Exception):
    """What autopush answers instead of 201; the errno says which rule was broken."""

    def __init__(self, status: int, errno: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.errno = errno


def check_vapid(authorization: str, registered_key: bytes | None, *, audience: str) -> None:
    """Check `vapid t=…, k=…` (RFC 8292): signed by k, for this audience and at most a day.

    The key k must be the registered one. Raises Refused.
    """
    scheme, _, rest = authorization.partition(" ")
    parameters = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    if scheme.lower() != "vapid" or not {"t", "k"} <= parameters.keys():
        raise Refused(401, 109, "Missing or unreadable VAPID authorization")
    try:
        key = from_base64url(parameters["k"])
        claims = jwt.decode(
            parameters["t"],
            ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key),
            algorithms=["ES256"],
            audience=audience,
            options={"require": ["aud", "exp", "sub"]},
        )
    except (jwt.InvalidTokenError, ValueError, UnsupportedAlgorithm) as error:
        raise Refused(401, 109, f"Invalid VAPID token: {error}") from error
    if claims["exp"] > time.time() + MAX_VAPID_LIFETIME_SECONDS:
        raise Refused(401, 109, "VAPID token expires in more than 24 hours")
    if registered_key is not None and key != registered_key:
        raise Refused(401, 109, "VAPID public key mismatch")


def check_message(headers: Mapping[str, str], body: bytes) -> int:
    """Check encoding, size, Topic and TTL, and return the TTL in seconds. Raises Refused."""
    if body and headers.get("content-encoding") != "aes128gcm":
        raise Refused(400, 110, "Unknown Content-Encoding header")
    if len(body) > MAX_BODY_BYTES:
        raise Refused(413, 104, "Data payload too large")
    topic = headers.get("topic")
    if topic is not None and not (len(topic) <= 32 and TOPIC_CHARACTERS.issuperset(topic)):
        raise Refused(400, 113, "Invalid Topic header")
    if "ttl" not in headers:
        raise Refused(400, 111, "Missing TTL value")
    if not headers["ttl"].isdecimal():
        raise Refused(400, 112, "Invalid TTL value")
    return int(headers["ttl"])


def from_base64url(text: str) -> bytes:
    """Firefox pads what it sends, senders do not."""
    bare = text.rstrip("=")
    return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))


def to_base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
