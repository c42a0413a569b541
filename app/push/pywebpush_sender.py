"""The sender that posts with pywebpush and requests: threads over one pooled session. The reference adapter."""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPException
from math import inf
from pathlib import Path

from pywebpush import WebPusher
from requests import Response
from urllib3.exceptions import HTTPError

from app.push.address import resolve
from app.push.connection import PushSession, Resolve, StaleConnection
from app.push.endpoint import CheckedEndpoint, EndpointPolicy
from app.push.failure import chain_of, failed
from app.push.keys import normalise_auth, normalise_p256dh
from app.push.message import PushMessage, check_size
from app.push.outcome import Outcome, Reason, judge
from app.push.pace import Pace
from app.push.request import headers_for
from app.push.sender import DEFAULT_TIMEOUTS, Outcomes, Timeouts, never
from app.push.shares import Shares
from app.push.vapid import VapidSigner

_Delivery = Future[tuple[PushMessage, Outcome]]

_log = logging.getLogger(__name__)

_MAX_ANSWER_BYTES = 16_384
# Well under the second that the port promises, so that a yield is never late.
_HEARTBEAT_SECONDS = 0.5
_SHORTEST_WAIT_SECONDS = 0.005
_TRIES_ON_STALE_CONNECTIONS = 3
_SMALL_SHARE = 2


class PywebpushSender:
    """Encrypts with pywebpush's WebPusher and posts over one requests session. See the port, sender.Sender.

    A host has as many posts under way as `threads` says.
    """

    def __init__(
        self,
        *,
        policy: EndpointPolicy,
        signer: VapidSigner,
        ca_file: Path | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        threads: int = 32,
        resolve_host: Resolve | None = None,
    ) -> None:
        _silence_urllib3()
        self._policy = policy
        self._signer = signer
        self._timeouts = timeouts
        self._closed = threading.Event()
        self._session = PushSession(
            resolve=resolve_host or partial(resolve, allow_loopback=policy.allow_loopback),
            ca_file=ca_file,
            timeouts=timeouts,
            connections=threads,
        )
        # There are threads for a few hosts that hang with all they may have, and for many others beside them.
        self._shares = Shares(per_host=threads, crowded=2 * threads, small=_SMALL_SHARE)
        self._executor = ThreadPoolExecutor(4 * threads, thread_name_prefix="push")

    def send(
        self,
        messages: Sequence[PushMessage],
        *,
        stop: Callable[[], bool] = never,
        rate_per_second: float | None = None,
    ) -> Outcomes:
        waiting = deque(messages)
        pace = Pace(rate_per_second)
        done: queue.SimpleQueue[_Delivery] = queue.SimpleQueue()
        in_flight: set[_Delivery] = set()
        if self._closed.is_set():
            raise RuntimeError("the sender is closed")
        try:
            while True:
                for delivery in self._begun(waiting, stop, pace):
                    in_flight.add(delivery)
                    delivery.add_done_callback(done.put)
                if not in_flight and not waiting:
                    return
                may_be_due_soon = waiting and pace.is_even
                finished = _collect(done, until=pace.due_at if may_be_due_soon else inf)
                in_flight.difference_update(finished)
                yield [delivery.result() for delivery in finished if not delivery.cancelled()]
        finally:
            for delivery in in_flight:
                delivery.cancel()

    def close(self) -> None:
        self._closed.set()
        self._executor.shutdown(cancel_futures=True)
        self._session.close()

    def _begun(self, waiting: deque[PushMessage], stop: Callable[[], bool], pace: Pace) -> Iterator[_Delivery]:
        """Begin the next messages: as many as are due and there is room for, none of them once we may not go on."""
        while True:
            if self._closed.is_set() or stop():
                waiting.clear()
            if not waiting or time.monotonic() < pace.due_at:
                return
            host = _host_of(waiting[0])
            if not self._shares.take(host):
                return
            try:
                delivery = self._executor.submit(self._deliver, waiting.popleft())
            except RuntimeError:  # closed a moment ago, by another thread
                self._shares.give_back(host)
                waiting.clear()
                return
            delivery.add_done_callback(partial(self._give_back, host))
            if pace.is_even:
                pace.note_begun(time.monotonic())
            yield delivery

    def _give_back(self, host: str, _delivery: _Delivery) -> None:
        self._shares.give_back(host)

    def _deliver(self, message: PushMessage) -> tuple[PushMessage, Outcome]:
        try:
            return message, self._outcome_of(message)
        except Exception as error:
            outcome = failed(error)
            if outcome.reason is Reason.INTERNAL_ERROR:
                # The class only: requests writes the whole URL into its messages.
                _log.error("sending failed unexpectedly: %s", type(error).__name__)
            return message, outcome

    def _outcome_of(self, message: PushMessage) -> Outcome:
        check_size(message)
        target = self._policy.check(message.endpoint)
        authorization = self._signer.authorization(target.origin, message.vapid_key)
        headers = headers_for(message, target, authorization=authorization, now=time.monotonic())
        body = _encrypted(message)
        outcome = self._post(target, headers, body)
        if outcome.reason is Reason.BAD_TOPIC and "Topic" in headers:
            del headers["Topic"]
            outcome = self._post(target, headers, body)
        return outcome

    def _post(self, target: CheckedEndpoint, headers: dict[str, str], body: bytes) -> Outcome:
        posted_at = time.perf_counter()
        response = self._response(target, headers, body)
        seconds = time.perf_counter() - posted_at
        try:
            return judge(
                target.service,
                response.status_code,
                response.headers,
                _read_capped(response),
                now=datetime.now(UTC),
                endpoint=target.endpoint,
                seconds=seconds,
            )
        finally:
            # A body that was not read to its end closes the connection with it.
            response.close()

    def _response(self, target: CheckedEndpoint, headers: dict[str, str], body: bytes) -> Response:
        for tries_left in reversed(range(_TRIES_ON_STALE_CONNECTIONS)):
            try:
                return self._session.post(
                    target.endpoint,
                    data=body,
                    headers=headers,
                    timeout=(self._timeouts.connect_seconds, self._timeouts.read_seconds),
                    allow_redirects=False,
                    stream=True,
                )
            except OSError as error:
                if not tries_left or not any(isinstance(link, StaleConnection) for link in chain_of(error)):
                    raise
        raise AssertionError("unreachable")


def _host_of(message: PushMessage) -> str:
    """Return the host and port of a message that nobody has checked yet; something for one that has none."""
    return message.endpoint.partition("//")[2].partition("/")[0].lower()


def _encrypted(message: PushMessage) -> bytes:
    """Return the RFC 8291 body. Raises InvalidSubscriptionKeys."""
    if not message.payload:
        return b""
    keys = {"p256dh": normalise_p256dh(message.p256dh), "auth": normalise_auth(message.auth)}
    pusher = WebPusher({"endpoint": message.endpoint, "keys": keys})
    body: bytes = pusher.encode(message.payload)["body"]
    return body


def _read_capped(response: Response) -> bytes:
    """Return the first part of the answer's body; nothing when it breaks or takes too long.

    The status is known by now and decides; the body is only read for its words.
    """
    try:
        body: bytes = response.raw.read(_MAX_ANSWER_BYTES, decode_content=False)
    except (OSError, HTTPError, HTTPException):
        return b""
    return body


def _collect(done: queue.SimpleQueue[_Delivery], *, until: float) -> list[_Delivery]:
    """Return what is done; when nothing is, wait for the first, at most a heartbeat or until then."""
    finished: list[_Delivery] = []
    wait_seconds = min(max(until - time.monotonic(), _SHORTEST_WAIT_SECONDS), _HEARTBEAT_SECONDS)
    try:
        finished.append(done.get(timeout=wait_seconds))
        while True:
            finished.append(done.get_nowait())
    except queue.Empty:
        return finished


def _silence_urllib3() -> None:
    # It writes whole endpoints into the log: every path at DEBUG, and the URL of an answer with a malformed
    # header as a WARNING, which a hostile push service can provoke.
    for name in ("urllib3.connectionpool", "urllib3.connection"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
