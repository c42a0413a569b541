"""The four push services: every post goes through the script, the rules and the VAPID check, in this order."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal

from app.simulator import dialects
from app.simulator.arrivals import Arrivals, Head
from app.simulator.browsers import Browser, Browsers, Post
from app.simulator.counts import Counts
from app.simulator.exchange import Answer, HttpVersion, Reaction, Request
from app.simulator.faults import ORDINARY, Fate, FaultScript
from app.simulator.rules import RULES, Problem, Refusal, ServiceName, granted_ttl, refusal_of
from app.simulator.vapid_check import VapidCheck

Checks = Literal["full", "endpoints", "none"]

_SWALLOWED = Reaction(Answer(201))
_NOT_FOUND = Answer(404, (("content-type", "text/plain"),), b"no push service has this path\n")


class PushServices:
    """Answers posts as the real services would. `checks="none"` makes it a sink that only counts, "endpoints" one
    that counts by endpoint.

    Implements the wire's Handler, so it runs on the event loop's thread.
    """

    def __init__(
        self,
        browsers: Browsers,
        script: FaultScript,
        *,
        checks: Checks,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._browsers = browsers
        self._script = script
        self._is_sink = checks != "full"
        self.counts_endpoints = checks == "endpoints"
        self._clock = clock
        self._vapid = VapidCheck()
        self._counts = Counts(self._browsers)
        self._arrivals = Arrivals()

    def arrived(self) -> None:
        self._counts.tcp_connections += 1
        self._tell()

    def connected(self, http_version: HttpVersion) -> None:
        self._counts.connections_by_http_version[http_version] += 1
        self._tell()

    def requests_per_connection(self) -> int | None:
        return self._script.requests_per_connection

    def foresee(self, request: Request) -> Reaction | None:
        fault = self._script.foresee(request.path, _host_of(request))
        if fault is None:
            return None
        self._counts.faults += 1
        self._finish(request, self._browsers.find(request.path), status=None, accepted=False)
        return fault.reaction

    def swallow(self, http_version: HttpVersion, body_bytes: int, head: Head | None = None) -> Reaction:
        """React to a post as a sink does. Without a head, faults for one service, host or browser are left out."""
        path, host = (head.path, head.host) if head else ("", "")
        fate = self._script.decide(path, host)
        reaction, untold = _SWALLOWED, False
        if fate is not ORDINARY:
            fault = self._script.foresee(path, host) or fate.fault
            reaction = replace(fault.reaction if fault else _SWALLOWED, delay_seconds=fate.delay_seconds)
            untold = fault is not None and fault.delivers and not reaction.says_yes
            self._counts.faults += fault is not None
        status = reaction.answer.status if reaction.tells_the_status else None
        accepted = untold or reaction.says_yes
        if head is not None:
            self._arrivals.add(head, accepted=accepted, untold=untold, at=self._clock())
        self._count(http_version, body_bytes, status=status, accepted=accepted)
        return reaction

    def cut_off(self, heads: Iterable[Head]) -> None:
        for head in heads:
            self._arrivals.cut_off(head)

    def handle(self, request: Request) -> Reaction:
        if self._is_sink:
            return self.swallow(request.http_version, len(request.body), self._head_of(request))
        service = _service_of(request.path)
        if service is None:
            return Reaction(_NOT_FOUND)
        fate = self._script.decide(request.path, _host_of(request))
        browser = self._browsers.find(request.path)
        problem = self._problem_of(request, service, browser)
        reaction = self._react(request, service, browser, problem, fate)
        accepted = problem is None and (fate.fault is None or fate.fault.accepts)
        status = reaction.answer.status if reaction.tells_the_status else None
        self._finish(request, browser, status=status, accepted=accepted)
        return reaction

    def counts(self) -> Counts:
        """Return the numbers now. Any thread may ask."""
        with self._browsers.changed:
            return self._counts.snapshot()

    def arrivals(self, topic: str | None) -> list[dict[str, Any]]:
        """Return what came for each endpoint with this topic. Only the event loop's thread may ask."""
        return list(self._arrivals.as_json(topic))

    def reset_counts(self) -> None:
        with self._browsers.changed:
            self._counts = Counts(self._browsers)
            self._arrivals = Arrivals()

    def _head_of(self, request: Request) -> Head | None:
        if not self.counts_endpoints:
            return None
        return Head(request.path, _host_of(request), request.headers.get("topic"), request.headers.get("ttl"))

    def _problem_of(self, request: Request, service: ServiceName, browser: Browser | None) -> Problem | None:
        rules = RULES[service]
        if request.method != "POST":
            return Refusal.METHOD
        if browser is None:
            return Refusal.UNKNOWN
        problem = self._vapid.problem_of(
            request.headers.get("authorization"),
            origin=browser.origin,
            application_server_key=browser.application_server_key,
            now=self._clock(),
            strict_subject=rules.strict_subject,
        )
        if problem is None and browser.gone_status is not None:
            return Refusal.GONE if browser.gone_status == 410 else Refusal.UNKNOWN
        return problem or refusal_of(rules, request.headers, request.body)

    def _react(
        self,
        request: Request,
        service: ServiceName,
        browser: Browser | None,
        problem: Problem | None,
        fate: Fate,
    ) -> Reaction:
        if fate.fault is not None and not (problem is not None and fate.fault.only_for_accepted):
            self._counts.faults += 1
            return replace(fate.fault.reaction, delay_seconds=fate.delay_seconds)
        if problem is None and browser is not None:
            ttl_seconds = granted_ttl(RULES[service], request.headers)
            answer = dialects.acceptance(service, origin=browser.origin, ttl_seconds=ttl_seconds)
            return Reaction(answer, delay_seconds=fate.delay_seconds)
        self._counts.refused += 1
        answer = dialects.refusal(service, problem or Refusal.UNKNOWN)
        return Reaction(answer, delay_seconds=fate.delay_seconds)

    def _finish(self, request: Request, browser: Browser | None, *, status: int | None, accepted: bool) -> None:
        with self._browsers.changed:
            if browser is not None:
                post = Post(request.headers, request.http_version, status, self._clock())
                browser.record(post, accepted_body=request.body if accepted else None)
            self._count(request.http_version, len(request.body), status=status, accepted=accepted)

    def _count(self, http_version: HttpVersion, body_bytes: int, *, status: int | None, accepted: bool) -> None:
        counts = self._counts
        with self._browsers.changed:
            counts.posts += 1
            counts.accepted += accepted
            counts.body_bytes += body_bytes
            counts.posts_by_http_version[http_version] += 1
            if status is not None:
                counts.statuses[status] += 1
            self._browsers.changed.notify_all()

    def _tell(self) -> None:
        with self._browsers.changed:
            self._browsers.changed.notify_all()


def _service_of(path: str) -> ServiceName | None:
    try:
        return ServiceName(path[1:].partition("/")[0])
    except ValueError:
        return None


def _host_of(request: Request) -> str:
    return request.headers.get(":authority") or request.headers.get("host", "")
