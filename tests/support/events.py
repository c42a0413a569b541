"""Listening to Server-Sent Events, as a client would."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.api import SERVICE_HEADERS
from tests.support.waiting import DEADLINE_SECONDS


@dataclass(frozen=True)
class Event:
    """One event; `comment` alone is set for a sign of life."""

    name: str | None = None
    data: Any = None
    retry: int | None = None
    comment: str | None = None


@contextmanager
def listening(url: str, path: str) -> Iterator[tuple[httpx.Response, Iterator[Event]]]:
    """Connect; yield the answer, and its events as they come. Leaving the block is leaving the service."""
    timeout = httpx.Timeout(DEADLINE_SECONDS)
    with httpx.stream("GET", url + path, headers=dict(SERVICE_HEADERS), timeout=timeout) as answer:
        yield answer, _events(answer)


def _events(answer: httpx.Response) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
            continue
        yield Event(
            name=fields.get("event"),
            data=json.loads(fields["data"]) if "data" in fields else None,
            retry=int(fields["retry"]) if "retry" in fields else None,
            comment=fields.get(""),
        )
        fields = {}
