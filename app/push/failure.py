"""What it means when no answer came: the outcomes of our own errors, never the subscription's fault."""

import http.client
import socket
import ssl
from collections.abc import Iterator

from app.push.address import AddressNotPublic
from app.push.connection import CannotConnect, StaleConnection
from app.push.endpoint import EndpointNotAllowed
from app.push.keys import InvalidSubscriptionKeys
from app.push.message import MAX_PLAINTEXT_BYTES, PayloadTooLarge
from app.push.outcome import Outcome, Reason, Verdict
from app.push.request import DeadlinePassed, InvalidTopic

# Read from the top: the first row that any error of the chain belongs to. All of the network's troubles are
# tried again: a name that leads into a private network, or a certificate that is refused, is the operator's
# matter or the push service's, and passes.
_FAILURES: tuple[tuple[type[BaseException], Verdict, Reason, str], ...] = (
    (EndpointNotAllowed, Verdict.REJECTED, Reason.ENDPOINT_NOT_ALLOWED, "the endpoint is not allowed"),
    (InvalidSubscriptionKeys, Verdict.REJECTED, Reason.INVALID_KEYS, "the subscription's keys are not valid"),
    (InvalidTopic, Verdict.REJECTED, Reason.BAD_TOPIC, "the Topic is not base64url of at most 32 characters"),
    (
        PayloadTooLarge,
        Verdict.TOO_LARGE,
        Reason.TOO_LARGE,
        f"the payload has more than {MAX_PLAINTEXT_BYTES} bytes",
    ),
    (DeadlinePassed, Verdict.EXPIRED, Reason.DEADLINE, "its time was over before it could be posted"),
    (AddressNotPublic, Verdict.RETRY, Reason.ADDRESS_NOT_PUBLIC, "the name leads to a private address"),
    (socket.gaierror, Verdict.RETRY, Reason.DNS_FAILURE, "the name could not be resolved"),
    (CannotConnect, Verdict.RETRY, Reason.CONNECTION_FAILED, "no connection could be made"),
    (ssl.SSLEOFError, Verdict.RETRY, Reason.CONNECTION_BROKEN, "the connection broke"),
    (ssl.SSLZeroReturnError, Verdict.RETRY, Reason.CONNECTION_BROKEN, "the connection broke"),
    (ssl.SSLCertVerificationError, Verdict.RETRY, Reason.TLS_REFUSED, "the certificate is not trusted"),
    (ssl.SSLError, Verdict.RETRY, Reason.TLS_REFUSED, "TLS failed"),
    (TimeoutError, Verdict.RETRY, Reason.TIMEOUT, "no answer in time"),
    (ConnectionError, Verdict.RETRY, Reason.CONNECTION_BROKEN, "the connection broke"),
    (StaleConnection, Verdict.RETRY, Reason.CONNECTION_BROKEN, "the connection broke"),
    (http.client.HTTPException, Verdict.RETRY, Reason.BAD_ANSWER, "the answer is not HTTP"),
)


def failed(error: BaseException) -> Outcome:
    """Return the outcome of an error. One that nobody foresaw is tried again: it may be our own fault."""
    chain = list(chain_of(error))
    for kind, verdict, reason, detail in _FAILURES:
        if any(isinstance(link, kind) for link in chain):
            return Outcome(verdict, reason, detail=detail)
    return Outcome(Verdict.RETRY, Reason.INTERNAL_ERROR, detail=type(error).__name__)


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and all that it wraps: requests and urllib3 hide the first cause in different places."""
    waiting, seen = [error], set[int]()
    while waiting:
        link = waiting.pop()
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        inner = (link.__cause__, link.__context__, getattr(link, "reason", None), *link.args)
        waiting.extend(candidate for candidate in inner if isinstance(candidate, BaseException))
