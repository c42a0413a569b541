import base64
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from app.simulator import Simulator, WaitedTooLong
from tests.unit.simulator.sending import ApplicationServer, base64url


def test_a_subscription_looks_like_a_browsers(push_service: Simulator) -> None:
    subscription = push_service.subscribe("mozilla").subscription

    assert subscription.keys() == {"endpoint", "expirationTime", "keys"}
    assert subscription["expirationTime"] is None
    p256dh, auth = (
        base64.urlsafe_b64decode(subscription["keys"][name] + "=" * padding)
        for name, padding in (("p256dh", 1), ("auth", 2))
    )
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), p256dh)
    assert len(auth) == 16
    assert subscription["endpoint"].startswith(f"{push_service.url}/mozilla/")


def test_a_thousand_browsers_take_less_than_a_second_of_work(push_service: Simulator) -> None:
    began = time.thread_time()

    browsers = push_service.subscribe_many(1000)

    assert time.thread_time() - began < 1
    assert len({browser.endpoint for browser in browsers}) == 1000


@pytest.mark.parametrize(
    "key", ["", "BA", base64url(b"\x04" + bytes(64)), base64url(b"\x02" + bytes(32)), base64url(bytes(65))]
)
def test_a_key_that_no_browser_takes_is_refused(push_service: Simulator, key: str) -> None:
    with pytest.raises(ValueError, match=r"key|point|curve|base64"):
        push_service.subscribe(application_server_key=key)


def test_an_unknown_service_or_host_is_refused(push_service: Simulator) -> None:
    with pytest.raises(ValueError, match="gcm"):
        push_service.subscribe("gcm")
    with pytest.raises(ValueError, match=r"127\.0\.0\.9"):
        push_service.subscribe(host="127.0.0.9")


def test_waiting_in_vain_tells_what_came_instead(server: ApplicationServer) -> None:
    browser = server.subscribe()
    server.post(browser)
    server.simulator.answers(503)
    server.post(browser)

    with pytest.raises(WaitedTooLong, match=r"1 of 2 .*\[201, 503\]"):
        browser.wait_for(2, timeout_seconds=0.01)


def test_a_browser_keeps_the_headers_of_every_attempt(server: ApplicationServer) -> None:
    browser = server.subscribe("apple")
    server.post(browser, headers={"topic": "x"})
    server.post(browser)

    refused, accepted = browser.posts

    assert (refused.status, refused.topic, refused.ttl, refused.http_version) == (400, "x", 60, "2")
    assert (accepted.status, accepted.topic) == (201, None)
    assert accepted.headers["content-encoding"] == "aes128gcm"


def test_a_browser_without_a_known_key_takes_any(server: ApplicationServer) -> None:
    browser = server.simulator.subscribe()

    assert server.post(browser).status_code == 201
