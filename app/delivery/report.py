"""A report: what a browser says became of one delivery. receipts.py writes them."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from app.delivery.token import DeliveryKey


class Event(StrEnum):
    """What a browser can say of a delivery, once each."""

    DISPLAYED = "displayed"
    CLICKED = "clicked"
    CLOSED = "closed"


class Verdict(StrEnum):
    """What became of a report."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"  # the same was reported before
    UNKNOWN = "unknown"  # there is no such delivery any more
    BUSY = "busy"  # another has the row or its batch: nothing was written, the same again will do


@dataclass(frozen=True, slots=True)
class Report:
    """An event of a delivery, and how long before now it happened. `action` is the button that was clicked."""

    delivery: DeliveryKey
    event: Event
    action: str | None = None
    seconds_ago: float = 0.0


class Written(NamedTuple):
    """What became of a report; of an accepted one, how long after its planning it happened."""

    verdict: Verdict
    seconds_after_planning: float = 0.0
