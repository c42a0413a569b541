"""The tree of domain errors. What each means in HTTP is decided once, in web/problems.py.

`code` names the problem for programs (it ends the problem's type URI), `title` for people; the detail, given
when raising, says what to do. A detail never contains an endpoint, a key or a token.
"""

from typing import Any, ClassVar


class DomainError(Exception):
    """Base of everything the service refuses on purpose."""

    code: ClassVar[str] = "error"
    title: ClassVar[str] = "The request cannot be served"

    def __init__(self, detail: str, **extensions: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extensions = extensions  # further members of the problem document, RFC 9457 section 3.2


class Invalid(DomainError):
    code = "invalid"
    title = "The request is not valid"


class TooLarge(DomainError):
    code = "too-large"
    title = "The request is too large"


class Unauthenticated(DomainError):
    code = "unauthenticated"
    title = "Authentication is needed"


class Forbidden(DomainError):
    code = "forbidden"
    title = "Not allowed"


class NotFound(DomainError):
    code = "not-found"
    title = "Not found"


class Conflict(DomainError):
    code = "conflict"
    title = "In conflict with what is stored"


class PreconditionFailed(DomainError):
    code = "precondition-failed"
    title = "A condition of the request does not hold"


class RateLimited(DomainError):
    """Too many requests; `retry_after_seconds` says when to come back."""

    code = "rate-limited"
    title = "Too many requests"

    def __init__(self, detail: str, *, retry_after_seconds: int) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(DomainError):
    """A part that this request needs is down; trying again later may succeed."""

    code = "unavailable"
    title = "Temporarily unavailable"
