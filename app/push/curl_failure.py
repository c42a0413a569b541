"""What libcurl's codes mean for a message that got no answer: its outcome, or that it can be sent again at once."""

from app.push.curl_library import pycurl
from app.push.curl_transfer import Transfer
from app.push.outcome import Outcome, Reason, Verdict

# libcurl's words when it wanted to send again, was not allowed to, and no connection had failed: the push service
# refused the stream, by RST_STREAM(REFUSED_STREAM) or by a GOAWAY that names an earlier one, or had closed a kept
# connection in good order. With any other words, or another libcurl's, the message may have arrived.
_REFUSED_UNPROCESSED = "seek callback returned error"
_REFUSED_TOO_OFTEN = "Connection died, tried"

_BROKEN = (Reason.CONNECTION_BROKEN, "the connection broke")
_NOT_HTTP = (Reason.BAD_ANSWER, "the answer is not HTTP")


def outcome_of_failure(code: int, words: str, transfer: Transfer) -> Outcome:
    """Return the outcome of a transfer that ended with this code and these words, and without an answer."""
    if _is_http2_closed(code, words):
        code = pycurl.E_RECV_ERROR
    if code == pycurl.E_OPERATION_TIMEDOUT and transfer.sent_at is None:
        code = pycurl.E_COULDNT_CONNECT
    reason, detail = _REASONS.get(code, (Reason.INTERNAL_ERROR, f"libcurl's error {code}"))
    return Outcome(Verdict.RETRY, reason, detail=detail)


def was_not_processed(code: int, words: str, transfer: Transfer, *, is_kept: bool, is_http1: bool) -> bool:
    """Tell whether the push service did not look at the request, so that sending it again repeats nothing.

    A kept connection (it has answered others, and none since) that breaks before anything came counts, too, if
    nothing else had been under way to that host: it had been closed while it was idle, and we did not know yet. On
    HTTP/1.1, where a connection carries one request at a time, each one can find it so.
    """
    if transfer.has_begun_to_answer or transfer.request is None:
        return False
    if code == pycurl.E_SEND_FAIL_REWIND and words.startswith(_REFUSED_UNPROCESSED):
        return True
    if code == pycurl.E_RECV_ERROR and words.startswith(_REFUSED_TOO_OFTEN):
        return True
    if not (code in _BREAKS or _is_http2_closed(code, words)) or not is_kept:
        return False
    return transfer.request.after_idle or is_http1


def _is_http2_closed(code: int, words: str) -> bool:
    # One code for a connection closed in good order and for frames that are none; only the latter has words.
    return code == int(pycurl.E_HTTP2) and not words


def _reasons() -> dict[int, tuple[Reason, str]]:
    return {
        pycurl.E_UNSUPPORTED_PROTOCOL: _NOT_HTTP,
        pycurl.E_COULDNT_RESOLVE_HOST: (Reason.DNS_FAILURE, "the name could not be resolved"),
        pycurl.E_COULDNT_CONNECT: (Reason.CONNECTION_FAILED, "no connection could be made"),
        _WEIRD_SERVER_REPLY: _NOT_HTTP,
        pycurl.E_HTTP2: _NOT_HTTP,
        pycurl.E_PARTIAL_FILE: _BROKEN,
        pycurl.E_OPERATION_TIMEDOUT: (Reason.TIMEOUT, "no answer in time"),
        pycurl.E_SSL_CONNECT_ERROR: (Reason.TLS_REFUSED, "TLS failed"),
        pycurl.E_GOT_NOTHING: _BROKEN,
        pycurl.E_SEND_ERROR: _BROKEN,
        pycurl.E_RECV_ERROR: _BROKEN,
        pycurl.E_PEER_FAILED_VERIFICATION: (Reason.TLS_REFUSED, "the certificate is not trusted"),
        pycurl.E_SEND_FAIL_REWIND: _BROKEN,
        _HTTP2_STREAM: _BROKEN,
        _TOO_LARGE: _NOT_HTTP,
    }


# pycurl has no name for these in every version.
_WEIRD_SERVER_REPLY = 8
_HTTP2_STREAM = 92
_TOO_LARGE = 100
_REASONS = _reasons() if pycurl is not None else {}
_BREAKS = (
    frozenset({pycurl.E_GOT_NOTHING, pycurl.E_SEND_ERROR, pycurl.E_RECV_ERROR, pycurl.E_SEND_FAIL_REWIND})
    if pycurl is not None
    else frozenset()
)
