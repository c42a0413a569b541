"""Verification of the VAPID authorization header (RFC 8292), written apart from the code that signs it."""

import json
import re
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

MAX_LIFETIME_SECONDS = 24 * 3600

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
# As people report them from Apple; a name without a dot is refused too.
_UNREACHABLE_SUFFIXES = (".local", ".localhost", ".invalid")
_REMEMBERED_HEADERS = 10_000


class VapidProblem(StrEnum):
    """Why an authorization header is refused."""

    MISSING = "missing"
    MALFORMED = "malformed"
    BAD_SIGNATURE = "bad signature"
    WRONG_AUDIENCE = "wrong audience"
    EXPIRED = "expired"
    TOO_FAR_AHEAD = "too far ahead"
    BAD_SUBJECT = "bad subject"
    WRONG_KEY = "wrong key"


@dataclass(frozen=True, slots=True)
class _Verified:
    """A header whose signature holds."""

    public_key: bytes
    audience: object
    expires_at: float
    subject: object


class _Malformed(Exception):
    pass


class VapidCheck:
    """Checks headers, and remembers the ones whose signature it has verified: senders reuse them."""

    def __init__(self) -> None:
        self._verified: dict[str, _Verified | VapidProblem] = {}

    def problem_of(
        self,
        authorization: str | None,
        *,
        origin: str,
        application_server_key: bytes | None,
        now: float,
        strict_subject: bool,
    ) -> VapidProblem | None:
        """Return what is wrong with a header, or None.

        `origin` is the endpoint's, with a port that is not the default one. `application_server_key` is the
        uncompressed point that the subscription was made with; None accepts every key. `strict_subject`
        refuses subjects that nobody outside can reach, as Apple does.
        """
        if authorization is None:
            return VapidProblem.MISSING
        verified = self._verified.get(authorization)
        if verified is None:
            verified = _verify(authorization)
            if len(self._verified) >= _REMEMBERED_HEADERS:
                self._verified.clear()
            self._verified[authorization] = verified
        if isinstance(verified, VapidProblem):
            return verified
        if verified.audience != origin:
            return VapidProblem.WRONG_AUDIENCE
        if verified.expires_at <= now:
            return VapidProblem.EXPIRED
        if verified.expires_at > now + MAX_LIFETIME_SECONDS:
            return VapidProblem.TOO_FAR_AHEAD
        if not _is_subject(verified.subject, strict=strict_subject):
            return VapidProblem.BAD_SUBJECT
        if application_server_key not in (None, verified.public_key):
            return VapidProblem.WRONG_KEY
        return None


def _verify(authorization: str) -> _Verified | VapidProblem:
    try:
        token, public_key = _split(authorization)
        claims, signed_part, signature = _parse_token(token)
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key)
    except (_Malformed, ValueError):
        return VapidProblem.MALFORMED
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        key.verify(encode_dss_signature(r, s), signed_part, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return VapidProblem.BAD_SIGNATURE
    expires_at = claims.get("exp")
    if isinstance(expires_at, bool) or not isinstance(expires_at, int | float):
        return VapidProblem.MALFORMED
    return _Verified(public_key, claims.get("aud"), expires_at, claims.get("sub"))


def _split(authorization: str) -> tuple[str, bytes]:
    """Return the token and the raw public key of `vapid t=..., k=...`; raises _Malformed."""
    scheme, _, rest = authorization.partition(" ")
    parameters: dict[str, str] = {}
    for parameter in rest.split(","):
        name, equals, value = parameter.strip().partition("=")
        if not equals or name in parameters:
            raise _Malformed
        parameters[name] = value
    if scheme.lower() != "vapid" or not {"t", "k"} <= parameters.keys():
        raise _Malformed
    public_key = _base64url(parameters["k"])
    if len(public_key) != 65:
        raise _Malformed
    return parameters["t"], public_key


def _parse_token(token: str) -> tuple[Mapping[str, Any], bytes, bytes]:
    """Return the claims, the signed part and the signature of a JWT; raises _Malformed or ValueError."""
    parts = token.split(".")
    if len(parts) != 3:
        raise _Malformed
    header, claims, signature = (_base64url(part) for part in parts)
    parsed_header, parsed_claims = json.loads(header), json.loads(claims)
    if not isinstance(parsed_header, dict) or not isinstance(parsed_claims, dict):
        raise _Malformed
    if parsed_header.get("alg") != "ES256" or len(signature) != 64:
        raise _Malformed
    return parsed_claims, token.rpartition(".")[0].encode(), signature


def _base64url(text: str) -> bytes:
    """Decode base64url without padding, the only form the RFCs allow; raises _Malformed."""
    if not _BASE64URL.fullmatch(text):
        raise _Malformed
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except Base64Error as error:
        raise _Malformed from error


def _is_subject(subject: object, *, strict: bool) -> bool:
    if not isinstance(subject, str):
        return False
    if subject.startswith("mailto:"):
        address = subject.removeprefix("mailto:")
        domain = address.rpartition("@")[2]
        if not strict:
            return bool(address)
        if set(address) & set(" <>") or "@" not in address:
            return False
    elif subject.startswith("https://"):
        domain = urlsplit(subject).hostname or ""
        if not strict:
            return bool(domain)
    else:
        return False
    return "." in domain and not domain.lower().endswith(_UNREACHABLE_SUFFIXES)
