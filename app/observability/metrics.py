"""EVERY metric of the service is declared here, and rendered.

Labels are few and known in advance: route templates, never paths; push services, never hosts or endpoints. A
gauge's multiprocess mode says what becomes of the values of several processes: `livesum` adds those of living ones,
and `mostrecent` takes the last one set, because all of them speak of the same database.
"""

import math
import struct
import sys
from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Iterable, Sequence
from functools import lru_cache

from app import __version__
from app.observability import processes

# isort: split
# Only now: prometheus_client looks for the directory once, when it is imported.
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from app.push.endpoint import service_at

# A label set cannot be taken out of files that processes share: one of this value is not shown.
NOT_SHOWN = math.nan

_RENDER_TRIES = 3
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

processes.enter()

# Notification delivery rate: rate(push_deliveries_total{verdict="accepted"}[5m]).
deliveries = Counter(
    "push_deliveries_total",
    "Outcomes of push messages, by push service and verdict. A message that is tried again counts each time.",
    ["service", "verdict"],
)
push_request_duration = Histogram(
    "push_service_request_duration_seconds",
    "Time from posting a push message to its push service's answer.",
    ["service"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
deliveries_in_flight = Gauge(
    "push_deliveries_in_flight",
    "Deliveries that a worker has claimed and not recorded yet: what a crash could send twice, no more.",
    ["service"],
    multiprocess_mode="livesum",
)
service_pauses = Counter(
    "push_service_pauses_total",
    "Pauses of a push service: it was throttled (asked for less), troubled (did not answer, or not well) or refused"
    " our credentials.",
    ["service", "reason"],
)

receipts = Counter(
    "push_receipts_total",
    "Receipts of browsers, by event (displayed, clicked, closed) and result: accepted, or repeated.",
    ["event", "result"],
)
receipts_refused = Counter(
    "push_receipts_refused_total",
    "Receipts that count for nothing, by reason: invalid (no token of ours), expired, or unknown (no such delivery"
    " is kept any more).",
    ["reason"],
)
receipt_delay = Histogram(
    "push_receipt_delay_seconds",
    "Time from accepting a notification until a browser displayed it.",
    buckets=(0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0, 86400.0, 604800.0),
)

worker_processes = Gauge(
    "push_worker_processes", "Worker processes that run, on this machine.", multiprocess_mode="livesum"
)

# API response times, and error rates by endpoint.
http_request_duration = Histogram(
    "push_http_request_duration_seconds",
    "Time to answer an HTTP request, by route template and status class (2xx).",
    ["method", "route", "status"],
    buckets=_SECONDS,
)
http_requests = Counter(
    "push_http_requests_total",
    "HTTP requests answered, by route template and status code.",
    ["method", "route", "status"],
)
http_requests_in_flight = Gauge(
    "push_http_requests_in_flight", "HTTP requests being answered.", multiprocess_mode="livesum"
)
event_listeners = Gauge(
    "push_event_listeners",
    "Connections that listen to the progress of a notification. Each is an HTTP request being answered, too.",
    multiprocess_mode="livesum",
)
rate_limiter_failures = Counter(
    "push_rate_limiter_failures_total", "Requests let through because the rate limiter's store was not reachable."
)

# What stands in the database, refreshed by one process (workers/database_gauges.py).
active_subscriptions = Gauge(
    "push_active_subscriptions",
    "Subscriptions that are enabled, not gone and not deleted.",
    multiprocess_mode="mostrecent",
)
vapid_key_subscriptions = Gauge(
    "push_vapid_key_subscriptions",
    "Active subscriptions by VAPID key (the start of its public part). Browsers subscribe with the active one; one"
    " that is signing does so for those who subscribed before; with a retired one nothing is signed.",
    ["key", "state"],
    multiprocess_mode="mostrecent",
)
pending_deliveries = Gauge(
    "push_pending_deliveries",
    "Deliveries planned and without a final outcome, by the size of their open batches.",
    multiprocess_mode="mostrecent",
)
oldest_pending_age = Gauge(
    "push_oldest_pending_age_seconds",
    "How long the delivery that waits longest has been due. One that waits for its next try is not due.",
    multiprocess_mode="mostrecent",
)
unfinished_notifications = Gauge(
    "push_unfinished_notifications",
    "Notifications that are scheduled, being planned or being sent.",
    ["state"],
    multiprocess_mode="mostrecent",
)
services_paused = Gauge(
    "push_services_paused",
    "Lanes (a tenant, a push service's host and a VAPID key) that wait until their push service is well again.",
    ["service", "reason"],
    multiprocess_mode="mostrecent",
)
open_quarantines = Gauge(
    "push_open_quarantines",
    "Suspected mass losses that wait for an operator: too many subscriptions were called gone at once.",
    ["service"],
    multiprocess_mode="mostrecent",
)
quarantined_subscriptions = Gauge(
    "push_quarantined_subscriptions",
    "Subscriptions held in open quarantines: not sent to, and not purged.",
    ["service"],
    multiprocess_mode="mostrecent",
)
draining = Gauge(
    "push_draining",
    "1 while an operator has everything drained, so that nothing is sent, else 0.",
    multiprocess_mode="mostrecent",
)
database_gauges_refreshed = Gauge(
    "push_database_gauges_refreshed_timestamp_seconds",
    "When the gauges about the database were last refreshed, in Unix time.",
    multiprocess_mode="mostrecent",
)
database_up = Gauge(
    "push_database_up", "1 if the database answered when last asked, else 0.", multiprocess_mode="mostrecent"
)

periodic_job_failures = Counter(
    "push_periodic_job_failures_total", "Runs of a periodic job that raised an error.", ["job"]
)
build_info = Gauge(
    "push_build_info", "Always 1; the labels tell what runs.", ["version", "python"], multiprocess_mode="livemax"
)
build_info.labels(version=__version__, python=".".join(str(part) for part in sys.version_info[:3])).set(1)


def observe_all(histogram: Histogram, values: Sequence[float]) -> None:
    """Observe every value, writing each bucket once: one by one, they cost as much as reading the recipients."""
    buckets, bounds = histogram._buckets, histogram._upper_bounds  # it offers no other way
    for bucket, count in Counts(bisect_left(bounds, value) for value in values).items():
        buckets[bucket].inc(count)
    histogram._sum.inc(sum(values))


@lru_cache(maxsize=1024)
def service_label(endpoint_host: str) -> str:
    """Return the `service` label of an endpoint's host: fcm, mozilla, apple, wns, or other."""
    return service_at(endpoint_host).value


def render() -> tuple[bytes, str]:
    """Return the metrics of all the service's processes in Prometheus' text format, and its content type."""
    for _ in range(_RENDER_TRIES - 1):
        try:
            return _render(), CONTENT_TYPE_PLAIN_0_0_4
        except (struct.error, RuntimeError, FileNotFoundError):
            # Another process was just creating its file, or its master removing it.
            continue
    return _render(), CONTENT_TYPE_PLAIN_0_0_4


def _render() -> bytes:
    registry = CollectorRegistry()
    _OfAllProcesses(registry, path=str(processes.DIRECTORY))  # type: ignore[no-untyped-call]
    with processes.nobody_sweeping():
        return generate_latest(registry)


class _OfAllProcesses(MultiProcessCollector):
    def collect(self) -> Iterable[Metric]:
        found: list[Metric] = list(super().collect())  # type: ignore[no-untyped-call]
        for metric in found:
            metric.samples = [sample for sample in metric.samples if not math.isnan(sample.value)]
        return found
