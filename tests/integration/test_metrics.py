"""/metrics: the five key figures of the specification, after real requests and real deliveries."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.db.session import SessionFactory
from app.main import create_app
from app.settings import Settings
from app.simulator import Simulator
from app.workers.database_gauges import DatabaseGauges
from tests.support.api import SettingsFactory
from tests.support.metric_samples import Samples

UserHeaders = Callable[[str], dict[str, str]]

SEND = "/notifications/send/"


@pytest.fixture
def settings(make_settings: SettingsFactory, database_url: str, push_ca_file: Path) -> Settings:
    return make_settings(database_url=database_url, push_ca_file=push_ca_file)


def scrape(client: TestClient) -> Samples:
    return Samples(client.get("/metrics/").text)


def subscribe(client: TestClient, push_service: Simulator, headers: dict[str, str]) -> str:
    key = client.get("/vapid/public-key").json()["public_key"]
    browser = push_service.subscribe("fcm", application_server_key=key)
    answer = client.post("/subscriptions/", json=browser.subscription, headers=headers)
    return str(answer.json()["id"])


def send(client: TestClient, subscription_id: str, headers: dict[str, str]) -> None:
    content = {"title": "Hello", "body": "A message", "subscription_ids": [subscription_id]}
    assert client.post(SEND, json=content, headers=headers).status_code == 200


def test_it_is_prometheus_text_in_both_forms_of_the_path(client: TestClient) -> None:
    answers = [client.get(path) for path in ("/metrics", "/metrics/")]

    for answer in answers:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert "push_build_info" in Samples(answer.text).names


def test_it_can_be_switched_off(make_settings: SettingsFactory, database_url: str) -> None:
    app = create_app(make_settings(database_url=database_url, prometheus_metrics_enabled=False))
    with TestClient(app) as client:
        answer = client.get("/metrics/")

    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "PROMETHEUS_METRICS_ENABLED" in answer.json()["detail"]


def test_the_five_key_figures_follow_what_happens(
    client: TestClient,
    sessions: SessionFactory,
    push_service: Simulator,
    user_headers: UserHeaders,
    service_headers: dict[str, str],
) -> None:
    before = scrape(client)

    subscription_id = subscribe(client, push_service, user_headers("1"))
    send(client, subscription_id, service_headers)
    push_service.answers(503, retry_after=120)
    send(client, subscription_id, service_headers)
    client.post(SEND, json={"title": "to nobody"}, headers=service_headers)
    DatabaseGauges().refresh(sessions)
    after = scrape(client)

    def rise(name: str, **labels: str) -> float:
        return (after.value(name, **labels) or 0) - (before.value(name, **labels) or 0)

    assert rise("push_deliveries_total", verdict="accepted") == 1, "delivery rate"
    assert rise("push_deliveries_total", verdict="retry") == 1
    assert rise("push_service_request_duration_seconds_count") == 2, "how long push services took"
    assert rise("push_deliveries_in_flight") == 0, "all of it is recorded"
    assert rise("push_http_request_duration_seconds_count", route=SEND, status="2xx") == 2, "response times"
    assert rise("push_http_requests_total", route=SEND, status="422") == 1, "error rates by endpoint"
    assert after.value("push_active_subscriptions") == 1, "active subscriptions"
    assert after.value("push_pending_deliveries") == 1, "queue length"


def test_no_label_carries_what_a_client_chose(
    client: TestClient, push_service: Simulator, user_headers: UserHeaders, service_headers: dict[str, str]
) -> None:
    subscription_id = subscribe(client, push_service, user_headers("1"))
    send(client, subscription_id, service_headers)
    client.get(f"/subscriptions/{subscription_id}/", headers=service_headers)
    client.get("/no/such/secret-path")

    text = client.get("/metrics/").text

    assert subscription_id not in text
    assert "secret-path" not in text
    assert "127.0.0" not in text
    assert 'route="/subscriptions/{id}/"' in text or 'route="/subscriptions/{subscription_id}/"' in text
