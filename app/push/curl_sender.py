"""The sender that posts with libcurl over HTTP/2: one thread of its own for all callers. The default adapter."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from app.push.address import resolve
from app.push.curl_addresses import AddressBook, Resolve
from app.push.curl_job import Job
from app.push.curl_request import Preparation
from app.push.curl_thread import CurlThread
from app.push.curl_transfer import Wire
from app.push.endpoint import EndpointPolicy
from app.push.message import PushMessage
from app.push.pace import Pace
from app.push.sender import DEFAULT_TIMEOUTS, Outcomes, Timeouts, never
from app.push.trust import ca_bundle, ensure_readable
from app.push.vapid import VapidSigner

# Well under the second that the port promises, so that a yield is never late.
_HEARTBEAT_SECONDS = 0.5


class CurlSender:
    """Hands messages to a sending thread, which is started by the first of them. See the port, sender.Sender."""

    def __init__(
        self,
        *,
        policy: EndpointPolicy,
        signer: VapidSigner,
        ca_file: Path | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        resolve_host: Resolve | None = None,
    ) -> None:
        self._ca_file = ca_bundle(ca_file)
        ensure_readable(self._ca_file)  # now, not with the first message
        self._timeouts = timeouts
        self._resolve = resolve_host or partial(resolve, allow_loopback=policy.allow_loopback)
        self._preparation = Preparation(policy=policy, signer=signer)
        self._lock = threading.Lock()
        self._thread: CurlThread | None = None
        self._is_closed = False

    def send(
        self,
        messages: Sequence[PushMessage],
        *,
        stop: Callable[[], bool] = never,
        rate_per_second: float | None = None,
    ) -> Outcomes:
        job = Job(messages, stop, Pace(rate_per_second))
        thread = self._submit(job)
        try:
            while True:
                has_ended = thread.has_ended  # asked first: then whatever it said is there
                answered = job.wait(_HEARTBEAT_SECONDS)
                if answered is None or (has_ended and not answered):
                    return
                yield answered
        finally:
            job.abandon()
            thread.wake()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.close()

    def _submit(self, job: Job) -> CurlThread:
        with self._lock:
            if self._is_closed:
                raise RuntimeError("the sender is closed")
            # None yet, or left behind in the parent by a fork, or died.
            if self._thread is None or not self._thread.submit(job):
                self._thread = self._started()
                self._thread.submit(job)
            return self._thread

    def _started(self) -> CurlThread:
        return CurlThread(self._preparation, resolve=self._resolve, wire=self._wire, timeouts=self._timeouts)

    def _wire(self, addresses: AddressBook) -> Wire:
        return Wire(self._ca_file, self._timeouts, addresses.is_checked)
