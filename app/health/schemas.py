"""What /health answers."""

from enum import StrEnum

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema


class Status(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"
    UNKNOWN = "unknown"  # it cannot be told while another part is down
    NOT_CONFIGURED = "not configured"


class Overall(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"  # it serves, but something is not as it should be
    UNHEALTHY = "unhealthy"


class Dependency(BaseModel):
    """One part the service depends on. `detail` says what is wrong, and what to do if that is known."""

    status: Status
    latency_ms: float | None = None
    detail: str | None = None
    cause: SkipJsonSchema[str | None] = Field(default=None, exclude=True)  # for the log: it can name a host


class Health(BaseModel):
    status: Overall
    version: str
    uptime_seconds: int = Field(description="Of the process that answers.")
    dependencies: dict[str, Dependency]


class Readiness(BaseModel):
    status: Overall
