"""Where messages wait while their host's addresses are looked up, so that none of them holds up another host's."""

import socket
from collections.abc import Iterator
from typing import NamedTuple

from app.push.curl_addresses import AddressBook, Name
from app.push.curl_job import Job, Prepared
from app.push.curl_verdict import outcome_of_error


class Parked(NamedTuple):
    """A message, and whose it is."""

    job: Job
    prepared: Prepared


class Parking:
    """Messages by the name that is looked up. Belongs to the sending thread.

    A look-up that takes too long is a failure: a resolver may hang for ever, its callers do not.
    """

    def __init__(self, addresses: AddressBook, *, patience_seconds: float) -> None:
        self._addresses = addresses
        self._patience_seconds = patience_seconds
        self._waiting: dict[Name, list[Parked]] = {}
        self._since: dict[Name, float] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __iter__(self) -> Iterator[Parked]:
        for waiting in self._waiting.values():
            yield from waiting

    def park(self, name: Name, job: Job, prepared: Prepared, *, now: float) -> None:
        if name not in self._waiting:
            self._waiting[name] = []
            self._since[name] = now
        self._waiting[name].append(Parked(job, prepared))
        job.parked += 1

    def look(self, now: float) -> None:
        """Give back to the jobs whose addresses are known by now, and answer those that have waited too long."""
        for name in list(self._waiting):
            if self._addresses.find(*name, now=now) is not None:
                for job, prepared in reversed(self._leave(name)):
                    job.hold(prepared)
            elif now - self._since[name] >= self._patience_seconds:
                outcome = outcome_of_error(socket.gaierror(socket.EAI_AGAIN, "no answer in time"))
                for job, prepared in self._leave(name):
                    if job.begins_more:
                        job.answer(prepared.message, outcome, now=now)

    def _leave(self, name: Name) -> list[Parked]:
        del self._since[name]
        waiting = self._waiting.pop(name)
        for job, _prepared in waiting:
            job.parked -= 1
        return waiting
