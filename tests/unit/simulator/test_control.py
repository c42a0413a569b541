import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.simulator import Simulator
from tests.support.waiting import until
from tests.unit.simulator.raw_clients import connect
from tests.unit.simulator.sending import ApplicationServer


@pytest.fixture
def control(server: ApplicationServer) -> httpx.Client:
    server.client.base_url = httpx.URL(server.simulator.control_url)
    return server.client


def test_browsers_are_subscribed_by_the_hundred(control: httpx.Client, server: ApplicationServer) -> None:
    order = {"service": "apple", "count": 100, "application_server_key": server.public_key, "host": "127.0.0.2"}

    answer = control.post("/subscribe", json=order)

    subscriptions = answer.json()["subscriptions"]
    assert len(subscriptions) == 100
    assert [browser.subscription for browser in server.simulator.browsers] == subscriptions
    assert all("//127.0.0.2:" in subscription["endpoint"] for subscription in subscriptions)


def test_messages_are_read_decrypted(control: httpx.Client, server: ApplicationServer) -> None:
    browser, other = server.subscribe(), server.subscribe()
    server.post(browser, "Grüße".encode(), headers={"topic": "news"})
    server.post(other, b"\xff\xfe")

    mine = control.get("/messages", params={"endpoint": browser.endpoint}).json()["messages"]
    everybodys = control.get("/messages").json()["messages"]

    [message] = mine
    assert (message["text"], message["topic"], message["ttl"]) == ("Grüße", "news", 60)
    assert [m.get("text") or m["base64"] for m in everybodys] == ["Grüße", "//4="]


@pytest.mark.parametrize(
    ("fault", "statuses"),
    [
        ({"action": "answer", "status": 503, "retry_after": 7, "times": 1}, [503, 201, 201]),
        ({"action": "answer", "status": 429, "every": 2}, [201, 429, 201]),
        ({"action": "answer", "status": 410, "service": "apple"}, [201, 201, 201]),
        ({"action": "delay", "delay_seconds": 0.001}, [201, 201, 201]),
    ],
)
def test_faults_are_ordered(
    control: httpx.Client, server: ApplicationServer, fault: dict[str, Any], statuses: list[int]
) -> None:
    browser = server.subscribe()

    ordered = control.post("/faults", json=fault)

    assert ordered.status_code == 200
    assert [server.post(browser).status_code for _ in statuses] == statuses


def test_a_fault_for_one_endpoint_concerns_no_other(control: httpx.Client, server: ApplicationServer) -> None:
    unlucky, lucky = server.subscribe(), server.subscribe()
    control.post("/faults", json={"action": "answer", "status": 500, "endpoint": unlucky.endpoint})

    assert [server.post(unlucky).status_code, server.post(lucky).status_code] == [500, 201]


def test_connections_are_told_to_go_away(control: httpx.Client, server: ApplicationServer) -> None:
    control.post("/faults", json={"action": "go_away", "every": 100})

    assert server.simulator.script.requests_per_connection == 100


def test_another_certificate_is_presented(
    control: httpx.Client, push_service: Simulator, push_ca_file: Path
) -> None:
    ordered = control.post("/certificate", json={"kind": "expired"})
    until(lambda: is_trusted(push_service, push_ca_file) is False, "the certificate is refused")
    blindly = httpx.Client(base_url=push_service.control_url, verify=False, trust_env=False)
    kind = blindly.get("/certificate").json()["kind"]
    blindly.post("/certificate", json={"kind": "trusted"})
    blindly.close()
    until(lambda: bool(is_trusted(push_service, push_ca_file)), "the good one is shown again")

    assert (ordered.status_code, kind) == (200, "expired")


def is_trusted(push_service: Simulator, ca_file: Path) -> bool | None:
    try:
        connect(push_service, ca_file, "http/1.1").close()
    except ssl.SSLCertVerificationError:
        return False
    except OSError:  # nobody listens just now
        return None
    return True


def test_faults_are_taken_back(control: httpx.Client, server: ApplicationServer) -> None:
    control.post("/faults", json={"action": "answer", "status": 503})

    control.delete("/faults")

    assert server.post(server.subscribe()).status_code == 201


def test_a_browser_is_unsubscribed(control: httpx.Client, server: ApplicationServer) -> None:
    browser = server.subscribe()

    control.post("/unsubscribe", json={"endpoint": browser.endpoint})

    assert server.post(browser).status_code == 410


def test_counts_are_read_and_reset(control: httpx.Client, server: ApplicationServer) -> None:
    server.post(server.subscribe())

    before = control.get("/counts").json()
    control.delete("/counts")
    after = control.get("/counts").json()

    assert (before["posts"], before["accepted"], before["statuses"]) == (1, 1, {"201": 1})
    assert after["posts"] == 0


@pytest.mark.parametrize("body", [b"", b"{", b"\xff"])
def test_an_order_that_is_not_json_is_refused(control: httpx.Client, body: bytes) -> None:
    answer = control.post("/faults", content=body)

    assert answer.status_code == 422
    assert "JSON" in answer.text


@pytest.mark.parametrize(
    ("path", "order"),
    [
        ("/subscribe", {"service": "gcm"}),
        ("/subscribe", {"count": 0}),
        ("/subscribe", {"host": "127.0.0.9"}),
        ("/subscribe", {"application_server_key": "BA"}),
        ("/subscribe", {"unknown": 1}),
        ("/faults", {"action": "explode"}),
        ("/faults", {"action": "answer", "status": 99}),
        ("/faults", {"action": "answer", "endpoint": "https://127.0.0.1/fcm/nobody"}),
        ("/unsubscribe", {"endpoint": "https://127.0.0.1/fcm/nobody"}),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(control: httpx.Client, path: str, order: dict[str, Any]) -> None:
    answer = control.post(path, json=order)

    assert answer.status_code == 422
    assert answer.json()["error"]


def test_an_unknown_order_lists_the_known_ones(control: httpx.Client) -> None:
    answer = control.get("/nothing")

    assert answer.status_code == 404
    assert "GET /_control/counts" in answer.json()["known"]


def test_faults_do_not_concern_the_control_api(push_service: Simulator, server: ApplicationServer) -> None:
    push_service.drops_connection(before_body=True)
    push_service.answers(503)

    assert server.client.get(push_service.control_url + "/counts").status_code == 200
