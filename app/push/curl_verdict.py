"""From a finished transfer, or an error on the way to one, to the message's outcome."""

import logging
from datetime import UTC, datetime

from app.push.curl_transfer import Transfer
from app.push.failure import failed
from app.push.outcome import Outcome, Reason, judge

_log = logging.getLogger(__name__)


def outcome_of_answer(transfer: Transfer, *, seconds: float) -> Outcome:
    """Return the outcome of a transfer that was answered."""
    assert transfer.request is not None
    target = transfer.request.target
    return judge(
        target.service,
        transfer.status_code,
        transfer.answer_headers,
        transfer.answer_body,
        now=datetime.now(UTC),
        endpoint=target.endpoint,
        seconds=seconds,
    )


def outcome_of_error(error: Exception) -> Outcome:
    """Return the outcome of a message that could not be posted at all."""
    outcome = failed(error)
    if outcome.reason is Reason.INTERNAL_ERROR:
        # The class only: an error's text may hold the endpoint.
        _log.error("sending failed unexpectedly: %s", type(error).__name__)
    return outcome
