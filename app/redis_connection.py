"""How the service reaches Redis: nobody waits long for it, because everything goes on without it."""

from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

TIMEOUT_SECONDS = 0.25


def connection_options() -> dict[str, Any]:
    """Return the options for redis-py: a short time-out, and one retry, at once.

    The retry is for a connection that a restarted Redis closed: it is simply opened again. A Redis that does not
    answer in time is not asked twice.
    """
    return {
        "socket_timeout": TIMEOUT_SECONDS,
        "socket_connect_timeout": TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    }


def redis_client(url: str) -> Redis:
    """Return a client for caches. Connects when first used."""
    return Redis.from_url(url, **connection_options())
