import http.client
import socket
import ssl
from typing import Any

import pytest
import requests
from urllib3.exceptions import MaxRetryError, ProtocolError, ReadTimeoutError

from app.push.address import AddressNotPublic
from app.push.connection import CannotConnect
from app.push.endpoint import EndpointNotAllowed
from app.push.failure import failed
from app.push.keys import InvalidSubscriptionKeys
from app.push.message import PayloadTooLarge
from app.push.outcome import Reason, Verdict
from app.push.request import DeadlinePassed, InvalidTopic

NO_POOL: Any = None


def wrapped(error: Exception) -> Exception:
    """Return the error as requests and urllib3 give it, three layers deep."""
    inner = ProtocolError("Connection aborted.", error)
    return requests.ConnectionError(MaxRetryError(NO_POOL, "/push/secret", inner))


@pytest.mark.parametrize(
    ("error", "verdict", "reason"),
    [
        (EndpointNotAllowed("x"), Verdict.REJECTED, Reason.ENDPOINT_NOT_ALLOWED),
        (InvalidSubscriptionKeys("auth", "x"), Verdict.REJECTED, Reason.INVALID_KEYS),
        (InvalidTopic("x"), Verdict.REJECTED, Reason.BAD_TOPIC),
        (PayloadTooLarge("x"), Verdict.TOO_LARGE, Reason.TOO_LARGE),
        (DeadlinePassed("x"), Verdict.EXPIRED, Reason.DEADLINE),
        (AddressNotPublic("x"), Verdict.RETRY, Reason.ADDRESS_NOT_PUBLIC),
        (socket.gaierror(socket.EAI_NONAME, "x"), Verdict.RETRY, Reason.DNS_FAILURE),
        (CannotConnect("x"), Verdict.RETRY, Reason.CONNECTION_FAILED),
        (ssl.SSLCertVerificationError("x"), Verdict.RETRY, Reason.TLS_REFUSED),
        (ssl.SSLError("x"), Verdict.RETRY, Reason.TLS_REFUSED),
        (ssl.SSLEOFError("x"), Verdict.RETRY, Reason.CONNECTION_BROKEN),
        (TimeoutError("x"), Verdict.RETRY, Reason.TIMEOUT),
        (ConnectionResetError("x"), Verdict.RETRY, Reason.CONNECTION_BROKEN),
        (http.client.RemoteDisconnected("x"), Verdict.RETRY, Reason.CONNECTION_BROKEN),
        (http.client.BadStatusLine("x"), Verdict.RETRY, Reason.BAD_ANSWER),
        (ZeroDivisionError("x"), Verdict.RETRY, Reason.INTERNAL_ERROR),
    ],
)
def test_an_error_is_known_however_deep_it_is_wrapped(error: Exception, verdict: Verdict, reason: Reason) -> None:
    bare, hidden = failed(error), failed(wrapped(error))

    assert (bare.verdict, bare.reason, bare.status_code) == (verdict, reason, None)
    if reason is not Reason.INTERNAL_ERROR:
        assert (hidden.verdict, hidden.reason) == (verdict, reason)
    assert "secret" not in repr(hidden)


def test_an_error_that_was_raised_while_handling_another_is_known() -> None:
    try:
        try:
            raise TimeoutError("timed out")
        except TimeoutError:
            raise ReadTimeoutError(NO_POOL, "/push/secret", "Read timed out.") from None
    except ReadTimeoutError as error:
        outcome = failed(error)

    assert outcome.reason is Reason.TIMEOUT


def test_no_error_of_ours_ends_a_subscription() -> None:
    outcomes = [failed(kind("x")) for kind in (OSError, ValueError, RuntimeError, ssl.SSLError, TimeoutError)]

    assert {outcome.verdict for outcome in outcomes} == {Verdict.RETRY}
