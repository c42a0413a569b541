"""Each fault, over HTTP/2 and HTTP/1.1, and what several faults do together."""

import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from app.simulator import Simulator
from tests.unit.simulator.sending import ApplicationServer


@pytest.mark.parametrize("status", [200, 202, 400, 403, 404, 406, 410, 413, 429, 500, 503])
def test_any_status_can_be_answered(any_server: ApplicationServer, status: int) -> None:
    browser = any_server.subscribe()
    any_server.simulator.answers(status, headers={"X-Reason": "because"}, body='{"reason": "Because"}')

    answer = any_server.post(browser)

    assert (answer.status_code, answer.json()) == (status, {"reason": "Because"})
    assert answer.headers["x-reason"] == "because"
    assert len(browser.received) == (1 if status < 300 else 0)


def test_retry_after_is_seconds_or_a_date(any_server: ApplicationServer) -> None:
    browser = any_server.subscribe()
    any_server.simulator.answers(503, retry_after=120, times=1)
    any_server.simulator.answers(429, retry_after=datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC), times=1)
    any_server.simulator.answers(429, retry_after="soon", times=1)

    answers = [any_server.post(browser) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [503, 429, 429]
    assert [answer.headers["retry-after"] for answer in answers] == ["120", "Wed, 02 Jan 2030 03:04:05 GMT", "soon"]


def test_a_2xx_does_not_excuse_a_bad_message(server: ApplicationServer) -> None:
    browser = server.subscribe()
    server.simulator.answers(202)

    assert server.post(browser, headers={"ttl": None}).status_code == 400


@pytest.mark.parametrize("status", ["dropped", "channelthrottled"])
def test_what_wns_drops_or_throttles_does_not_reach_the_browser(server: ApplicationServer, status: str) -> None:
    browser = server.subscribe("wns")
    server.simulator.answers(200, headers={"X-WNS-Status": status})

    answer = server.post(browser)

    assert (answer.status_code, answer.headers["x-wns-status"]) == (200, status)
    assert browser.received == []


def test_a_redirect_names_another_place(any_server: ApplicationServer) -> None:
    browser, elsewhere = any_server.subscribe(), any_server.subscribe()
    any_server.simulator.redirects_to(elsewhere.endpoint, browser=browser)

    answer = any_server.post(browser)

    assert (answer.status_code, answer.headers["location"]) == (307, elsewhere.endpoint)
    assert elsewhere.posts == []


def test_a_delayed_answer_comes_late_but_the_message_at_once(any_server: ApplicationServer) -> None:
    browser = any_server.subscribe()
    any_server.simulator.delays(0.05)

    began = time.monotonic()
    answer = any_server.post(browser)

    assert answer.status_code == 201
    assert time.monotonic() - began > 0.04


def test_a_delay_longer_than_the_senders_patience_leaves_it_in_the_dark(any_server: ApplicationServer) -> None:
    browser = any_server.subscribe()
    any_server.simulator.delays(30)

    with pytest.raises(httpx.ReadTimeout):
        any_server.post(browser, timeout=httpx.Timeout(60, read=0.05))

    assert len(browser.wait_for(1)) == 1


def test_a_delay_goes_together_with_another_fault(any_server: ApplicationServer) -> None:
    browser = any_server.subscribe()
    any_server.simulator.delays(0.05)
    any_server.simulator.answers(503)

    began = time.monotonic()
    answer = any_server.post(browser)

    assert answer.status_code == 503
    assert time.monotonic() - began > 0.04


@pytest.mark.parametrize("before_body", [True, False])
def test_a_dropped_connection_answers_nothing(any_server: ApplicationServer, before_body: bool) -> None:
    browser = any_server.subscribe()
    any_server.simulator.drops_connection(before_body=before_body, times=1)

    with pytest.raises(httpx.TransportError):
        any_server.post(browser)

    assert [post.status for post in browser.posts] == [None]
    assert browser.received == []
    assert any_server.post(browser).status_code == 201
    assert any_server.simulator.counts.connections == 2


def test_a_connection_dropped_after_delivery_makes_a_repeat(any_server: ApplicationServer) -> None:
    browser = any_server.subscribe()
    any_server.simulator.drops_connection(delivers=True, times=1)

    with pytest.raises(httpx.TransportError):
        any_server.post(browser)
    any_server.post(browser)

    assert browser.repeats == 1
    assert any_server.simulator.counts.repeats == 1


def test_a_hanging_service_leaves_the_sender_waiting(any_server: ApplicationServer) -> None:
    browser = any_server.subscribe()
    any_server.simulator.hangs()

    with pytest.raises(httpx.ReadTimeout):
        any_server.post(browser, timeout=httpx.Timeout(60, read=0.05))

    any_server.simulator.wait_until(lambda counts: counts.posts == 1)
    assert [post.status for post in browser.posts] == [None]


def test_an_endless_body_goes_on_for_as_long_as_somebody_reads(any_server: ApplicationServer) -> None:
    browser = any_server.subscribe()
    any_server.simulator.endless_body(times=1)
    size = 0

    with any_server.client.stream(
        "POST", browser.endpoint, content=b"", headers=any_server.headers_for(browser)
    ) as answer:
        for chunk in answer.iter_raw():
            size += len(chunk)
            if size > 200_000:  # more than the windows that HTTP/2 begins with
                break

    assert answer.status_code == 500
    assert any_server.post(browser).status_code == 201


def test_a_slow_body_comes_byte_by_byte(any_server: ApplicationServer) -> None:
    browser = any_server.subscribe()
    any_server.simulator.slow_body(status=502, times=1)

    with any_server.client.stream(
        "POST", browser.endpoint, content=b"", headers=any_server.headers_for(browser)
    ) as answer:
        chunks = answer.iter_raw()
        first = [next(chunks), next(chunks)]

    assert (answer.status_code, first) == (502, [b"x", b"x"])


def test_a_connection_can_be_reset(any_server: ApplicationServer) -> None:
    browser = any_server.subscribe()
    any_server.simulator.resets_connection(times=1)

    with pytest.raises(httpx.TransportError):
        any_server.post(browser)

    assert any_server.post(browser).status_code == 201


def test_garbage_is_no_http(any_server: ApplicationServer) -> None:
    browser = any_server.subscribe()
    any_server.simulator.garbage(times=1)

    with pytest.raises(httpx.TransportError):
        any_server.post(browser)

    assert any_server.post(browser).status_code == 201


def test_goaway_makes_the_sender_open_another_connection(push_service: Simulator, push_ca_file: Path) -> None:
    # On HTTP/1.1: httpx gives up a stream that is still open when GOAWAY comes. HTTP/2: see test_wires.
    push_service.sends_goaway(every=3)
    with ApplicationServer(push_service, push_ca_file, http2=False) as server:
        browser = server.subscribe()
        statuses = [server.post(browser).status_code for _ in range(7)]

    assert statuses == [201] * 7
    assert push_service.counts.connections == 3


def test_a_service_that_does_not_listen_refuses_connections(any_server: ApplicationServer) -> None:
    browser = any_server.subscribe()
    any_server.simulator.stop_listening()

    with pytest.raises(httpx.ConnectError):
        any_server.post(browser)


def test_faults_with_a_number_come_in_the_order_they_were_written(server: ApplicationServer) -> None:
    browser = server.subscribe()
    server.simulator.answers(500)
    server.simulator.answers(503, times=2)
    server.simulator.answers(429, times=1)

    statuses = [server.post(browser).status_code for _ in range(5)]

    assert statuses == [503, 503, 429, 500, 500]


def test_the_newest_lasting_fault_holds(server: ApplicationServer) -> None:
    browser = server.subscribe()
    server.simulator.answers(500)
    server.simulator.answers(503)

    assert server.post(browser).status_code == 503


def test_a_fault_may_hit_each_third_post(server: ApplicationServer) -> None:
    browser = server.subscribe()
    server.simulator.answers(503, every=3)

    statuses = [server.post(browser).status_code for _ in range(7)]

    assert statuses == [201, 201, 503, 201, 201, 503, 201]


def test_a_fault_may_concern_one_service_one_host_or_one_browser(server: ApplicationServer) -> None:
    fcm, apple = server.subscribe("fcm"), server.subscribe("apple")
    elsewhere, unlucky = server.subscribe("fcm", host="127.0.0.2"), server.subscribe("fcm")
    server.simulator.answers(500, service="apple")
    server.simulator.answers(502, host="127.0.0.2")
    server.simulator.answers(503, browser=unlucky)

    statuses = [server.post(browser).status_code for browser in (fcm, apple, elsewhere, unlucky)]

    assert statuses == [201, 500, 502, 503]


def test_a_fault_for_an_unknown_service_is_a_mistake(push_service: Simulator) -> None:
    with pytest.raises(ValueError, match="gcm"):
        push_service.answers(503, service="gcm")


def test_a_reset_forgets_everything(server: ApplicationServer) -> None:
    server.simulator.answers(503)
    server.simulator.sends_goaway(every=2)
    forgotten = server.subscribe()
    server.post(forgotten)

    server.simulator.reset()

    assert server.simulator.counts.posts == 0
    assert server.simulator.browsers == []
    assert server.post(forgotten).status_code == 404
    assert [server.post(server.subscribe()).status_code for _ in range(3)] == [201, 201, 201]
