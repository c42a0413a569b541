import ast
from pathlib import Path

import pytest
from prometheus_client.metrics import Histogram, MetricWrapperBase

from app.observability import metrics
from tests.support.metric_samples import Samples

APP = Path(metrics.__file__).parents[1]
MAY_IMPORT_PROMETHEUS = {"observability/metrics.py", "observability/processes.py", "observability/value_files.py"}
COUNTS_OF_THINGS = {
    "push_active_subscriptions",
    "push_vapid_key_subscriptions",
    "push_pending_deliveries",
    "push_unfinished_notifications",
    "push_http_requests_in_flight",
    "push_deliveries_in_flight",
    "push_worker_processes",
    "push_event_listeners",
    "push_services_paused",
    "push_open_quarantines",
    "push_quarantined_subscriptions",
}
FLAGS = {"push_database_up", "push_build_info", "push_draining"}

declared = [metric for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]


def scraped() -> Samples:
    return Samples(metrics.render()[0].decode())


def imported_by(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


@pytest.mark.parametrize("metric", declared, ids=lambda metric: metric._name)
def test_names_carry_the_prefix_and_a_standard_unit(metric: MetricWrapperBase) -> None:
    name = next(iter(metric.describe())).name

    assert name.startswith("push_")
    if metric._type == "gauge":
        assert name.endswith("_seconds") or name in COUNTS_OF_THINGS | FLAGS
    elif metric._type == "histogram":
        assert name.endswith("_seconds")


def test_metrics_are_declared_in_one_place() -> None:
    elsewhere = {
        relative
        for path in APP.rglob("*.py")
        if any(module.split(".")[0] == "prometheus_client" for module in imported_by(path))
        and (relative := str(path.relative_to(APP))) not in MAY_IMPORT_PROMETHEUS
    }

    assert elsewhere == set()


def test_a_scrape_shows_what_was_counted() -> None:
    before = scraped().value("push_deliveries_total", service="mozilla", verdict="gone") or 0

    metrics.deliveries.labels(service="mozilla", verdict="gone").inc()

    assert scraped().value("push_deliveries_total", service="mozilla", verdict="gone") == before + 1


def test_the_build_is_shown_once() -> None:
    assert scraped().value("push_build_info") == 1


@pytest.mark.parametrize(
    ("host", "service"),
    [
        ("fcm.googleapis.com", "fcm"),
        ("jmt17.google.com", "fcm"),
        ("updates.push.services.mozilla.com", "mozilla"),
        ("web.push.apple.com", "apple"),
        ("wns2-par02p.notify.windows.com", "wns"),
        ("push.example.net", "other"),
        ("127.0.0.1:8443", "other"),
        ("[::1]:8443", "other"),
        ("evil-push.apple.com.example", "other"),
        ("", "other"),
    ],
)
def test_a_push_service_is_named_by_its_kind(host: str, service: str) -> None:
    assert metrics.service_label(host) == service


def test_values_observed_together_are_as_observed_one_by_one() -> None:
    bounds = (0.01, 0.1, 1.0)
    values = [0.0, 0.01, 0.010001, 0.5, 1.0, 7.0]
    together = Histogram("together", "Observed in one call.", buckets=bounds, registry=None)
    one_by_one = Histogram("one_by_one", "Observed value by value.", buckets=bounds, registry=None)

    metrics.observe_all(together, values)
    for value in values:
        one_by_one.observe(value)

    assert samples_of(together) == samples_of(one_by_one)


def samples_of(histogram: Histogram) -> list[tuple[str, dict[str, str], float]]:
    return [
        (sample.name.removeprefix(histogram._name), sample.labels, sample.value)
        for metric in histogram.collect()
        for sample in metric.samples
        if not sample.name.endswith("_created")
    ]
