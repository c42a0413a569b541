"""A safety net under logs and error reports: masks endpoints, keys and tokens that slipped into them.

Code must not rely on it. It knows names and shapes, so it cannot find a secret that has neither.
"""

import re
from collections.abc import Mapping
from datetime import date, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

MASK = "[redacted]"

_MAX_DEPTH = 12
_SECRET_NAMES = frozenset(
    {
        "endpoint", "p256dh", "auth", "keys", "token", "access_token", "authorization", "proxy_authorization",
        "x_subscription_auth", "api_key", "x_api_key", "cookie", "set_cookie", "password", "passwd", "secret",
        "secret_key", "private_key", "vapid_private_key", "jwt", "jwt_secret_key", "database_url", "redis_url",
        "broker_url", "dsn", "sentry_dsn", "crypto_key", "subscription_info",
    }
)  # fmt: skip
_PUSH_HOSTS = (
    "fcm.googleapis.com",
    "jmt17.google.com",
    "updates.push.services.mozilla.com",
    "push.apple.com",
    "notify.windows.com",
)
_CREDENTIALS_IN_URL = re.compile(r"(?<=://)[^\s/@:]*:[^\s/@]*(?=@)")
_CREDENTIALS_IN_HEADER = re.compile(
    r"\b((?:Bearer|Basic|WebPush)\s+)[\w.~+/=-]{16,}|\b(vapid\s+)t=[^\s,]+(?:\s*,\s*k=[\w=-]+)?", re.IGNORECASE
)
_JWT = re.compile(r"\beyJ[\w-]{8,}\.[\w-]*\.[\w-]*(?:\.[\w-]*\.[\w-]*)?")
# An API key, after the beginning that names it in `api-keys list`.
_API_KEY = re.compile(r"\b(pns_[\w-]{8})[\w-]+")
# SQLAlchemy shows a statement's parameters, PostgreSQL the row that broke a rule.
_SQL_PARAMETERS = re.compile(r"\[parameters: .*?\](?=\s*\n|\s*\(Background|\s*$)", re.DOTALL)
_SQL_DETAIL = re.compile(r"(DETAIL|CONTEXT):.*")
_Plain = (bool, int, float, type(None), datetime, date, UUID)


class Redactor:
    """Masks what must not be seen. `extra_hosts` are the operator's own push services."""

    def __init__(self, extra_hosts: tuple[str, ...] = ()) -> None:
        hosts = "|".join(re.escape(host) for host in (*_PUSH_HOSTS, *extra_hosts))
        # The host stays readable: it says which push service, and is no secret.
        self._endpoints = re.compile(rf"((?:{hosts})(?::\d+)?/)[^\s\"'<>\])}},]+", re.IGNORECASE)

    def text(self, value: str) -> str:
        """Return the text with endpoints, credentials, JWTs and the values in database errors masked."""
        if "/" in value:
            value = self._endpoints.sub(rf"\1{MASK}", value)
        if "@" in value:
            value = _CREDENTIALS_IN_URL.sub(MASK, value)
        if "eyJ" in value:
            value = _JWT.sub(MASK, value)
        if "pns_" in value:
            value = _API_KEY.sub(rf"\1{MASK}", value)
        if "[parameters: " in value:
            value = _SQL_PARAMETERS.sub(f"[parameters: {MASK}]", value)
        if "DETAIL:" in value or "CONTEXT:" in value:
            value = _SQL_DETAIL.sub(rf"\1: {MASK}", value)
        if " " in value:
            value = _CREDENTIALS_IN_HEADER.sub(lambda found: f"{found[1] or found[2]}{MASK}", value)
        return value

    def value(self, value: Any, depth: int = 0) -> Any:
        """Return a value of any shape, masked. What is neither plain nor a collection becomes text."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, _Plain):
            return value
        if depth >= _MAX_DEPTH:
            return MASK
        if isinstance(value, Mapping):
            return {key: self.member(key, item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.value(item, depth + 1) for item in value]
        return self.text(repr(value))

    def member(self, name: Any, value: Any, depth: int = 0) -> Any:
        """Return a named value: masked whole if its name is a secret's."""
        if isinstance(name, str) and is_secret_name(name) and value is not None:
            return MASK
        return self.value(value, depth)


@lru_cache(maxsize=1024)
def is_secret_name(name: str) -> bool:
    return name.lower().replace("-", "_").removeprefix("http_") in _SECRET_NAMES
