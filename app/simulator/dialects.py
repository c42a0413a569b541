"""How each push service words its answers: statuses, headers and bodies like the real ones.

Seen in the field or in the services' own sources: FCM's texts about VAPID and gone subscriptions, autopush's
errno table, Apple's BadJwtToken, VapidPkHashMismatch, BadWebPushTopic and BadUrgency, WNS's headers. The
other texts are ours.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from http import HTTPStatus
from uuid import uuid4

from app.simulator.exchange import Answer
from app.simulator.rules import Problem, Refusal, ServiceName
from app.simulator.vapid_check import VapidProblem

_TEXT = ("content-type", "text/plain; charset=utf-8")
_JSON = ("content-type", "application/json")

_COMMON_STATUSES: Mapping[Problem, int] = {
    Refusal.METHOD: 405,
    Refusal.UNKNOWN: 404,
    Refusal.GONE: 410,
    Refusal.TOO_LARGE: 413,
}

_FCM_TEXTS: Mapping[Problem, str] = {
    Refusal.GONE: "push subscription has unsubscribed or expired.",
    VapidProblem.MISSING: "authorization header must be specified.",
    VapidProblem.MALFORMED: "invalid JWT provided",
    VapidProblem.BAD_SIGNATURE: "invalid JWT provided",
    VapidProblem.WRONG_KEY: (
        "the VAPID credentials in the authorization header do not correspond to the credentials used to "
        "create the subscriptions."
    ),
}

# Source: autopush-rs, autoendpoint/src/error.rs, headers/vapid.rs and extractors/notification_headers.rs.
_MOZILLA_ERRORS: Mapping[Problem, tuple[int | None, str]] = {
    Refusal.METHOD: (None, "Method not allowed"),
    Refusal.UNKNOWN: (102, "Invalid token"),
    Refusal.GONE: (106, "No such subscription"),
    Refusal.TOO_LARGE: (104, "Payload too large"),
    Refusal.ENCODING: (110, "Unknown Content-Encoding header"),
    Refusal.TTL_MISSING: (111, "Missing TTL value"),
    Refusal.TTL_INVALID: (114, "TTL must be greater than 0"),
    Refusal.TOPIC: (113, "Topic must be no greater than 32 characters"),
    VapidProblem.MISSING: (109, "Request did not validate missing authorization header"),
    VapidProblem.MALFORMED: (109, "Missing VAPID token"),
    VapidProblem.BAD_SIGNATURE: (109, "InvalidSignature"),
    VapidProblem.WRONG_AUDIENCE: (109, "Invalid VAPID audience"),
    VapidProblem.EXPIRED: (109, "Invalid VAPID expiry"),
    VapidProblem.TOO_FAR_AHEAD: (109, "The VAPID token expiration is too long"),
    VapidProblem.BAD_SUBJECT: (109, "Invalid VAPID subject"),
    VapidProblem.WRONG_KEY: (109, "VAPID public key mismatch"),
}
_MOZILLA_MORE_INFO = "http://autopush.readthedocs.io/en/latest/http.html#error-codes"

_APPLE_REASONS: Mapping[Problem, str] = {
    Refusal.METHOD: "MethodNotAllowed",
    Refusal.UNKNOWN: "BadPath",
    Refusal.GONE: "Unregistered",
    Refusal.TOO_LARGE: "PayloadTooLarge",
    Refusal.ENCODING: "BadContentEncoding",
    Refusal.TTL_MISSING: "MissingTTL",
    Refusal.TTL_INVALID: "BadTTL",
    Refusal.TOPIC: "BadWebPushTopic",
    Refusal.URGENCY: "BadUrgency",
    VapidProblem.WRONG_KEY: "VapidPkHashMismatch",
}


def acceptance(service: ServiceName, *, origin: str, ttl_seconds: int) -> Answer:
    """Return the answer to a message that the service takes."""
    return _ACCEPTANCES[service](origin, ttl_seconds)


def refusal(service: ServiceName, problem: Problem) -> Answer:
    """Return the answer to a message that the service does not take."""
    return _REFUSALS[service](problem)


def _fcm_acceptance(origin: str, _ttl_seconds: int) -> Answer:
    return Answer(201, (("location", f"{origin}/fcm/m/0:{secrets.token_hex(16)}"),))


def _mozilla_acceptance(origin: str, ttl_seconds: int) -> Answer:
    location = f"{origin}/mozilla/m/gAAAAA{secrets.token_urlsafe(48)}"
    return Answer(201, (("location", location), ("ttl", str(ttl_seconds))))


def _apple_acceptance(_origin: str, _ttl_seconds: int) -> Answer:
    return Answer(201, (("apns-id", str(uuid4()).upper()),))


def _wns_acceptance(_origin: str, _ttl_seconds: int) -> Answer:
    return Answer(201, (*_wns_headers(), ("x-wns-status", "received")))


def _fcm_refusal(problem: Problem) -> Answer:
    if isinstance(problem, VapidProblem):
        status = 401 if problem is VapidProblem.MISSING else 403
    else:
        status = _COMMON_STATUSES.get(problem, 400)
    return Answer(status, (_TEXT,), f"{_FCM_TEXTS.get(problem, problem.value)}\n".encode())


def _mozilla_refusal(problem: Problem) -> Answer:
    status = 401 if isinstance(problem, VapidProblem) else _COMMON_STATUSES.get(problem, 400)
    errno, message = _MOZILLA_ERRORS.get(problem, (None, problem.value))
    error = {
        "code": status,
        "errno": errno,
        "error": HTTPStatus(status).phrase,
        "message": message,
        "more_info": _MOZILLA_MORE_INFO,
    }
    return Answer(status, (_JSON,), json.dumps(error).encode())


def _apple_refusal(problem: Problem) -> Answer:
    if isinstance(problem, VapidProblem) and problem is not VapidProblem.WRONG_KEY:
        status = 403
    else:
        status = _COMMON_STATUSES.get(problem, 400)
    reason = _APPLE_REASONS.get(problem, "BadJwtToken" if status == 403 else "BadRequest")
    return Answer(status, (_JSON, ("apns-id", str(uuid4()).upper())), json.dumps({"reason": reason}).encode())


def _wns_refusal(problem: Problem) -> Answer:
    if isinstance(problem, VapidProblem):
        status = 403 if problem is VapidProblem.WRONG_KEY else 401
    else:
        status = _COMMON_STATUSES.get(problem, 400)
    return Answer(status, (*_wns_headers(), ("x-wns-error-description", problem.value)))


def _wns_headers() -> tuple[tuple[str, str], ...]:
    return (
        ("x-wns-msg-id", secrets.token_hex(8).upper()),
        ("x-wns-debug-trace", "SIMULATOR"),
    )


_ACCEPTANCES: Mapping[ServiceName, Callable[[str, int], Answer]] = {
    ServiceName.FCM: _fcm_acceptance,
    ServiceName.MOZILLA: _mozilla_acceptance,
    ServiceName.APPLE: _apple_acceptance,
    ServiceName.WNS: _wns_acceptance,
}
_REFUSALS: Mapping[ServiceName, Callable[[Problem], Answer]] = {
    ServiceName.FCM: _fcm_refusal,
    ServiceName.MOZILLA: _mozilla_refusal,
    ServiceName.APPLE: _apple_refusal,
    ServiceName.WNS: _wns_refusal,
}
