"""VAPID: the Authorization header that tells a push service who we are (RFC 8292)."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from app.push.endpoint import is_loopback_host
from app.push.keys import VapidKey, encode_base64url

# Half of the 24 hours allowed, and renewed at half of that: a clock that is hours off, ours or theirs, does
# no harm.
TOKEN_LIFE_SECONDS = 12 * 3600
_RENEWED_BEFORE_EXPIRY_SECONDS = 6 * 3600
# Hosts under a push service's domain are the subscriber's choice; the cache must not grow with them.
_MAX_CACHED_HEADERS = 1024

_JWT_HEADER = encode_base64url(b'{"typ":"JWT","alg":"ES256"}')
_UNREACHABLE_DOMAINS = (".localhost", ".local", ".invalid")


@dataclass(frozen=True, slots=True)
class _SignedHeader:
    value: str
    expires_at: float


class VapidSigner:
    """Makes VAPID headers and keeps them: signing costs as much as encrypting, and Apple wants it done
    rarely.

    `subject` is who answers for us, a mailto: or https: URL (see subject_problem). Safe to use from several
    threads.
    """

    def __init__(self, subject: str, *, clock: Callable[[], float] = time.time) -> None:
        self._subject = subject
        self._clock = clock
        self._headers: dict[tuple[str, str], _SignedHeader] = {}
        self._signing = threading.Lock()

    def authorization(self, origin: str, key: VapidKey) -> str:
        """Return the Authorization header for a push service's origin, good for hours to come."""
        cache_key = (origin, key.public)
        now = self._clock()
        header = self._headers.get(cache_key)
        if header is not None and _is_fresh(header, now):
            return header.value
        with self._signing:
            header = self._headers.get(cache_key)
            if header is None or not _is_fresh(header, now):
                header = self._sign(origin, key, now)
                self._keep(cache_key, header)
        return header.value

    def _sign(self, origin: str, key: VapidKey, now: float) -> _SignedHeader:
        expires_at = int(now) + TOKEN_LIFE_SECONDS
        claims = {"aud": origin, "exp": expires_at, "sub": self._subject}
        signed = f"{_JWT_HEADER}.{encode_base64url(json.dumps(claims, separators=(',', ':')).encode())}"
        token = f"{signed}.{encode_base64url(key.sign(signed.encode('ascii')))}"
        return _SignedHeader(f"vapid t={token}, k={key.public}", expires_at)

    def _keep(self, cache_key: tuple[str, str], header: _SignedHeader) -> None:
        self._headers.pop(cache_key, None)
        while len(self._headers) >= _MAX_CACHED_HEADERS:
            del self._headers[next(iter(self._headers))]
        self._headers[cache_key] = header


def subject_problem(subject: str) -> str | None:
    """Return what a push service would dislike about a VAPID subject, or None. Apple refuses all of these."""
    if any(character in "<> \t\r\n" for character in subject) or not subject.isprintable():
        return "VAPID_SUBJECT must hold no space and no brackets. Write mailto:admin@example.com."
    if subject.startswith("mailto:"):
        name, _, domain = subject.removeprefix("mailto:").rpartition("@")
        if not name or "@" in name:
            return "VAPID_SUBJECT has no mail address after mailto:. Write mailto:admin@example.com."
        return _domain_problem(domain)
    if subject.startswith("https://"):
        try:
            return _domain_problem(urlsplit(subject).hostname or "")
        except ValueError:
            return "VAPID_SUBJECT is not a URL. Write https://example.com/contact."
    return "VAPID_SUBJECT must begin with mailto: or https://, and say who answers for this service."


def _domain_problem(domain: str) -> str | None:
    lower = domain.lower()
    if is_loopback_host(lower) or "." not in lower.strip(".") or lower.endswith(_UNREACHABLE_DOMAINS):
        return "VAPID_SUBJECT must name a domain on the internet: no localhost, .local or .invalid."
    return None


def _is_fresh(header: _SignedHeader, now: float) -> bool:
    # The upper bound is for a clock that was set back: a header signed in the future is refused.
    return _RENEWED_BEFORE_EXPIRY_SECONDS <= header.expires_at - now <= TOKEN_LIFE_SECONDS
