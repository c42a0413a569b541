"""Which sender: chosen by its name, so that the settings' word is enough."""

import logging
from pathlib import Path

from app.push import curl_library
from app.push.curl_sender import CurlSender
from app.push.endpoint import EndpointPolicy
from app.push.pywebpush_sender import PywebpushSender
from app.push.sender import DEFAULT_TIMEOUTS, Sender, Timeouts
from app.push.vapid import VapidSigner

SENDER_KINDS = ("curl", "pywebpush")

_log = logging.getLogger(__name__)


def create_sender(
    kind: str,
    *,
    policy: EndpointPolicy,
    subject: str,
    ca_file: Path | None = None,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
) -> Sender:
    """Return a sender of the kind, one of SENDER_KINDS; without libcurl, pywebpush serves for curl, too.

    `subject` is VAPID_SUBJECT, `ca_file` the CA bundle for push services (default: the system's). Whoever
    asked for the sender closes it. Raises ValueError for another kind, OSError when the CA file cannot be
    read.
    """
    if kind not in SENDER_KINDS:
        raise ValueError(f"{kind!r} is not a sender; choose one of {', '.join(SENDER_KINDS)}")
    signer = VapidSigner(subject)
    if kind == "curl":
        if curl_library.is_available():
            return CurlSender(policy=policy, signer=signer, ca_file=ca_file, timeouts=timeouts)
        _log.info("the curl sender is not available here; sending with pywebpush")
    return PywebpushSender(policy=policy, signer=signer, ca_file=ca_file, timeouts=timeouts)
