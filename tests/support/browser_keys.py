"""Browser keys for tests: real ones, always the same for the same number, made in microseconds."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, derive_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.push.keys import encode_base64url

MOZILLA = "https://updates.push.services.mozilla.com/wpush/v2"
OFF_THE_CURVE = encode_base64url(b"\x04" + b"\x01" * 64)


@dataclass(frozen=True)
class BrowserKeys:
    """What one browser holds: its key pair and its auth secret."""

    private_key: EllipticCurvePrivateKey
    auth_secret: bytes

    @property
    def p256dh(self) -> str:
        point = self.private_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return encode_base64url(point)

    @property
    def auth(self) -> str:
        return encode_base64url(self.auth_secret)

    @property
    def members(self) -> dict[str, str]:
        """They as PushSubscription.toJSON() gives them."""
        return {"p256dh": self.p256dh, "auth": self.auth}


@lru_cache(maxsize=1024)
def browser_keys(number: int = 1) -> BrowserKeys:
    """Return the keys of the browser with this number."""
    seed = hashlib.sha512(f"browser {number}".encode()).digest()
    # 31 bytes are below the curve's order.
    return BrowserKeys(derive_private_key(int.from_bytes(seed[:31], "big"), SECP256R1()), seed[48:])


def a_subscription(number: int = 1, **members: Any) -> dict[str, Any]:
    """Return what the browser with this number sends to POST /subscriptions/; `members` are added or replace."""
    endpoint = f"{MOZILLA}/browser-{number}"
    return {"endpoint": endpoint, "expirationTime": None, "keys": browser_keys(number).members, **members}


def a_flat_subscription(number: int = 1, **members: Any) -> dict[str, Any]:
    """Return the same in the flat form, p256dh and auth beside the endpoint."""
    return {"endpoint": f"{MOZILLA}/browser-{number}", **browser_keys(number).members, **members}
