"""Answers kept in Redis for seconds, because dashboards ask the same again and again.

Only a convenience: without Redis, or while it fails, every answer is computed.
"""

from collections.abc import Callable
from typing import TypeVar

import structlog
from pydantic import BaseModel, ValidationError
from redis import Redis

TTL_SECONDS = 10

Answer = TypeVar("Answer", bound=BaseModel)

_log = structlog.get_logger(__name__)


def cached(redis: Redis | None, key: str, model: type[Answer], *, compute: Callable[[], Answer]) -> Answer:
    """Return the answer kept under `key`, else compute it and keep it for 10 seconds."""
    if redis is None:
        return compute()
    try:
        kept = redis.get(key)
    except Exception as error:  # what is there may not be Redis, and answer anything
        _log.warning("analytics answers are not cached: Redis cannot be used", error=type(error).__name__)
        return compute()
    if isinstance(kept, str | bytes):
        try:
            return model.model_validate_json(kept)
        except ValidationError:  # kept by another version of this service
            pass
    answer = compute()
    try:
        redis.set(key, answer.model_dump_json(), ex=TTL_SECONDS)
    except Exception as error:
        _log.warning("an analytics answer was not kept", error=type(error).__name__)
    return answer
