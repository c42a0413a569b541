"""An application server for these tests: signs with PyJWT, encrypts with pywebpush, posts with httpx."""

import base64
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pywebpush import WebPusher

from app.simulator import Browser, Simulator

SUBJECT = "mailto:push@example.com"


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def vapid_header(key: ec.EllipticCurvePrivateKey, claims: Mapping[str, Any], *, k: str | None = None) -> str:
    token = jwt.encode(dict(claims), key, algorithm="ES256")
    return f"vapid t={token}, k={k or public_key_of(key)}"


def public_key_of(key: ec.EllipticCurvePrivateKey) -> str:
    return base64url(key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def encrypt(browser: Browser, plaintext: bytes) -> bytes:
    return bytes(WebPusher(browser.subscription).encode(plaintext, content_encoding="aes128gcm")["body"])


class ApplicationServer:
    """Sends correct push messages; what a test wants wrong, it says."""

    def __init__(self, simulator: Simulator, ca_file: Path, *, http2: bool = True) -> None:
        self.simulator = simulator
        self.key = ec.generate_private_key(ec.SECP256R1())
        context = ssl.create_default_context(cafile=str(ca_file))
        self.client = httpx.Client(http2=http2, verify=context, trust_env=False, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()

    @property
    def public_key(self) -> str:
        return public_key_of(self.key)

    def subscribe(self, service: str = "fcm", **options: Any) -> Browser:
        return self.simulator.subscribe(service, application_server_key=self.public_key, **options)

    def claims_for(self, browser: Browser) -> dict[str, Any]:
        return {"aud": browser.origin, "exp": int(time.time()) + 3600, "sub": SUBJECT}

    def headers_for(self, browser: Browser) -> dict[str, str]:
        headers = {
            "authorization": vapid_header(self.key, self.claims_for(browser)),
            "content-encoding": "aes128gcm",
            "ttl": "60",
        }
        if browser.service == "wns":
            headers["x-wns-cache-policy"] = "cache"
        return headers

    def post(
        self,
        browser: Browser,
        plaintext: bytes = b"hello",
        *,
        body: bytes | None = None,
        headers: Mapping[str, str | None] | None = None,
        **request: Any,
    ) -> httpx.Response:
        """Post a message. A header that is None is left out; `body` replaces the encrypted plaintext."""
        merged = {**self.headers_for(browser), **(headers or {})}
        return self.client.post(
            browser.endpoint,
            content=encrypt(browser, plaintext) if body is None else body,
            headers={name: value for name, value in merged.items() if value is not None},
            **request,
        )
