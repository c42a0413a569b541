"""The forms that the values of variables take, each checked so that what could never work is refused at the start.

A refusal says what the value must be; it never shows the value, which may hold a password.
"""

import re
import ssl
from ipaddress import IPv4Network, IPv6Network, ip_network
from math import isfinite
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from limits import parse as parse_rate
from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode
from sentry_sdk.utils import Dsn

from app.push.endpoint import is_host_name, is_loopback_host

SLOWEST_MESSAGES_PER_SECOND = 0.01
MAPPED_PREFIX = 96  # bits of an IPv6 address in front of the IPv4 address that it maps
_NUMBER = re.compile("[0-9]+|0x[0-9a-f]*")


def _split_commas(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _check_rate(value: str) -> str:
    try:
        limit = parse_rate(value)
    except ValueError as error:
        raise ValueError("must look like 100/hour, 10/minute or 5/second") from error
    if limit.amount < 1:
        raise ValueError("must let something through, like 100/hour")
    return value


def _messages_per_second(value: float) -> float:
    if not (value >= SLOWEST_MESSAGES_PER_SECOND and isfinite(value)):
        raise ValueError(
            f"must be a number from {SLOWEST_MESSAGES_PER_SECOND:g} on, in messages a second; empty: no limit"
        )
    return value


def _known_log_level(value: str) -> str:
    level = value.upper()
    if level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise ValueError("must be DEBUG, INFO, WARNING or ERROR")
    return level


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # looked at only now: it raises when it is no number
    except ValueError:
        return None
    return parts


def _postgresql_url(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if not separator or scheme not in {"postgresql", "postgres", "postgresql+psycopg2"}:
        raise ValueError("must be a postgresql:// URL")
    return f"postgresql://{_readable(rest)}"


def _redis_url(value: str) -> str:
    scheme, _, rest = value.partition("://")
    known = {"redis": "redis", "valkey": "redis", "rediss": "rediss", "valkeys": "rediss"}
    if scheme not in known:
        raise ValueError("must be a redis:// or rediss:// URL")
    return f"{known[scheme]}://{_readable(rest)}"


def _readable(rest: str) -> str:
    """Return what follows a URL's scheme. Raises ValueError when its port is none."""
    if _split(f"//{rest}") is None:
        raise ValueError("its port is not a number; special characters of a password must be percent-encoded")
    return rest


def _vapid_subject(value: str) -> str:
    if not value.startswith(("mailto:", "https:")):
        raise ValueError("must be a mailto: or https: URL where push services can reach you (RFC 8292 section 2.1)")
    return value


def _origins(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the origins as browsers write them; with a path, or only a slash, one would match no request."""
    for value in values:
        if value != "*" and not _is_origin(value):
            raise ValueError("must be origins like https://www.example.com, without a slash or path after the host")
    return tuple(value.lower() for value in values)


def _is_origin(value: str) -> bool:
    parts = _split(value)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname or "@" in value:
        return False
    return value.lower() == f"{parts.scheme}://{parts.netloc}".lower()


def _host_names(values: tuple[str, ...]) -> tuple[str, ...]:
    lower = tuple(value.lower() for value in values)
    if not all(is_host_name(value) for value in lower):
        raise ValueError("must be bare host names like push.example.net, without https://, port or *")
    # Who ends in a number is read as an IPv4 address by some: 127.1, 0x7f.1 (WHATWG URL, "ends in a number").
    if any(_NUMBER.fullmatch(value.rpartition(".")[2]) for value in lower):
        raise ValueError("must be names like push.example.net, not addresses")
    if any(is_loopback_host(value) for value in lower):
        raise ValueError("is for push services with public addresses; for one on loopback see PUSH_ALLOW_LOOPBACK")
    return lower


def _networks(values: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(_in_ipv4(ip_network(value, strict=False)) for value in values)
    except ValueError:
        raise ValueError("must be IP addresses or networks like 10.0.0.0/8") from None


def _in_ipv4(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Return a network of mapped addresses (::ffff:10.0.0.0/104) as the one it maps, which is what peers are in."""
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None or network.prefixlen < MAPPED_PREFIX:
        return network
    return IPv4Network((mapped, network.prefixlen - MAPPED_PREFIX))


def _sentry_dsn(value: str) -> str:
    try:
        Dsn(value)
    except ValueError:
        raise ValueError("must be a DSN as Sentry gives it, like https://KEY@HOST/1") from None
    return value


def _certificates(value: Path) -> Path:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=value)
    except ssl.SSLError:
        raise ValueError("must be a file of certificates in PEM") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    return value


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]
Origins = Annotated[CommaSeparated, AfterValidator(_origins)]
HostNames = Annotated[CommaSeparated, AfterValidator(_host_names)]
Networks = Annotated[
    tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_networks), BeforeValidator(_split_commas)
]
Rate = Annotated[str, AfterValidator(_check_rate)]
MessagesPerSecond = Annotated[float, AfterValidator(_messages_per_second)]
LogLevel = Annotated[str, AfterValidator(_known_log_level)]
PostgresUrl = Annotated[str, AfterValidator(_postgresql_url)]
RedisUrl = Annotated[str, AfterValidator(_redis_url)]
VapidSubject = Annotated[str, AfterValidator(_vapid_subject)]
SentryDsn = Annotated[str, AfterValidator(_sentry_dsn)]
CertificateFile = Annotated[Path, AfterValidator(_certificates)]
