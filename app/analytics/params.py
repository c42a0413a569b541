"""What can be asked for. A misspelt parameter is refused: ignored, it would answer another question."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from app.analytics.period import DEFAULT_DAYS, MAX_DAYS, parse_instant
from app.web.text import PlainText

Instant = Annotated[
    datetime,
    BeforeValidator(lambda value: parse_instant(value) if isinstance(value, str) else value),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]}),
]


class DateRange(BaseModel):
    model_config = ConfigDict(extra="forbid")

    date_from: Instant | None = Field(
        default=None,
        description="Start of the range, included. An ISO 8601 date, which means its midnight in UTC, or a"
        f" date-time; without an offset it is UTC. Default: {DEFAULT_DAYS} days before `date_to`.",
        examples=["2026-10-01"],
    )
    date_to: Instant | None = Field(
        default=None,
        description="End of the range, excluded: for all of October, give 2026-11-01. Default: the end of today,"
        f" UTC. The range is at most {MAX_DAYS} days.",
        examples=["2026-11-01"],
    )


class DeliveryFilter(DateRange):
    type: PlainText | None = Field(
        default=None, min_length=1, max_length=64, description="Count only notifications of this type."
    )
