"""What each push service demands, and how it answers; over the wire, as a sender sees it."""

import json
import time
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from py_vapid import Vapid02
from pywebpush import webpush

from app.simulator import Browser, Simulator
from tests.unit.simulator.sending import SUBJECT, ApplicationServer, base64url, vapid_header

SERVICES = ["fcm", "mozilla", "apple", "wns"]
DAY_SECONDS = 86_400


@pytest.mark.parametrize("service", SERVICES)
def test_a_correct_message_is_accepted_and_decrypted(any_server: ApplicationServer, service: str) -> None:
    browser = any_server.subscribe(service)

    answer = any_server.post(browser, '{"title": "Grüße"}'.encode(), headers={"topic": "news", "urgency": "high"})

    assert answer.status_code == 201
    [message] = browser.wait_for(1)
    assert message.json() == {"title": "Grüße"}
    assert (message.ttl, message.topic, message.urgency) == (60, "news", "high")
    assert [post.status for post in browser.posts] == [201]


@pytest.mark.parametrize("service", SERVICES)
def test_a_message_sent_by_pywebpush_is_accepted(push_service: Simulator, push_ca_file: Any, service: str) -> None:
    vapid = Vapid02()
    vapid.generate_keys()
    browser = push_service.subscribe(service, application_server_key=vapid_public_key(vapid))
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(push_ca_file)
        webpush(
            browser.subscription,
            "hello",
            vapid_private_key=vapid,
            vapid_claims={"sub": SUBJECT},
            ttl=60,
            headers={"X-WNS-Cache-Policy": "cache"},
            requests_session=session,
        )

    assert [message.plaintext for message in browser.received] == [b"hello"]


def test_each_service_names_the_message_in_its_own_way(server: ApplicationServer) -> None:
    answers = {service: server.post(server.subscribe(service)) for service in SERVICES}

    assert answers["fcm"].headers["location"].startswith(server.simulator.url)
    assert answers["mozilla"].headers["location"].startswith(server.simulator.url)
    assert answers["mozilla"].headers["ttl"] == "60"
    assert len(answers["apple"].headers["apns-id"]) == 36
    assert answers["wns"].headers["x-wns-msg-id"]
    assert answers["wns"].headers["x-wns-status"] == "received"


def test_a_message_without_a_body_is_accepted(server: ApplicationServer) -> None:
    browser = server.subscribe()

    answer = server.post(browser, body=b"", headers={"content-encoding": None})

    assert answer.status_code == 201
    assert [message.plaintext for message in browser.received] == [b""]


@pytest.mark.parametrize(("service", "largest"), [("fcm", 4096), ("mozilla", 4096), ("apple", 4096), ("wns", 5000)])
def test_a_larger_body_than_the_service_takes_is_refused(
    server: ApplicationServer, service: str, largest: int
) -> None:
    browser = server.subscribe(service)

    fitting = server.post(browser, body=b"x" * largest)
    too_large = server.post(browser, body=b"x" * (largest + 1))

    assert fitting.status_code == 201
    assert too_large.status_code == 413


@pytest.mark.parametrize("service", SERVICES)
def test_a_message_without_a_ttl_is_refused(server: ApplicationServer, service: str) -> None:
    assert server.post(server.subscribe(service), headers={"ttl": None}).status_code == 400


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("ttl", ["", "-1", "1.5", "soon", "1 day"])
def test_a_ttl_is_a_whole_number(server: ApplicationServer, service: str, ttl: str) -> None:
    assert server.post(server.subscribe(service), headers={"ttl": ttl}).status_code == 400


def test_apple_wants_a_positive_ttl(server: ApplicationServer) -> None:
    statuses = [
        server.post(server.subscribe(service), headers={"ttl": "0"}).status_code for service in SERVICES[:3]
    ]

    assert statuses == [201, 201, 400]


def test_fcm_takes_28_days_at_most_and_mozilla_shortens_to_30(server: ApplicationServer) -> None:
    fcm, mozilla = server.subscribe("fcm"), server.subscribe("mozilla")

    longest = server.post(fcm, headers={"ttl": str(28 * DAY_SECONDS)})
    too_long = server.post(fcm, headers={"ttl": str(28 * DAY_SECONDS + 1)})
    shortened = server.post(mozilla, headers={"ttl": str(90 * DAY_SECONDS)})

    assert (longest.status_code, too_long.status_code) == (201, 400)
    assert shortened.headers["ttl"] == str(30 * DAY_SECONDS)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("topic", ["", "x" * 33, "a topic", "täglich", "a+b=", "news="])
def test_a_topic_is_at_most_32_characters_of_base64url(server: ApplicationServer, service: str, topic: str) -> None:
    headers: Any = {"topic": topic.encode()}

    assert server.post(server.subscribe(service), headers=headers).status_code == 400


@pytest.mark.parametrize("length", [1, 5, 29])
def test_only_apple_refuses_a_topic_with_a_lone_character(server: ApplicationServer, length: int) -> None:
    apple = server.post(server.subscribe("apple"), headers={"topic": "x" * length})
    mozilla = server.post(server.subscribe("mozilla"), headers={"topic": "x" * length})

    assert (apple.status_code, apple.json()) == (400, {"reason": "BadWebPushTopic"})
    assert mozilla.status_code == 201


@pytest.mark.parametrize("urgency", ["very-low", "low", "normal", "high"])
def test_the_four_urgencies_are_accepted(server: ApplicationServer, urgency: str) -> None:
    statuses = [server.post(server.subscribe(s), headers={"urgency": urgency}).status_code for s in SERVICES]

    assert statuses == [201] * 4


def test_another_urgency_is_refused_by_those_who_read_it(server: ApplicationServer) -> None:
    answers = [server.post(server.subscribe(s), headers={"urgency": "urgent"}) for s in SERVICES]

    assert [answer.status_code for answer in answers] == [400, 201, 400, 201]
    assert answers[2].json() == {"reason": "BadUrgency"}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("encoding", [None, "aesgcm", "gzip"])
def test_a_body_has_to_be_aes128gcm(server: ApplicationServer, service: str, encoding: str | None) -> None:
    answer = server.post(server.subscribe(service), headers={"content-encoding": encoding})

    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("ttl", "policy", "status"),
    [
        ("60", "cache", 201),
        ("60", "no-cache", 400),
        ("60", None, 400),
        ("0", "no-cache", 201),
        ("0", "cache", 400),
        ("0", None, 400),
    ],
)
def test_wns_wants_a_cache_policy_that_goes_with_the_ttl(
    server: ApplicationServer, ttl: str, policy: str | None, status: int
) -> None:
    answer = server.post(server.subscribe("wns"), headers={"ttl": ttl, "x-wns-cache-policy": policy})

    assert answer.status_code == status


def test_wns_reads_no_chunked_body(push_service: Simulator, push_ca_file: Any) -> None:
    with ApplicationServer(push_service, push_ca_file, http2=False) as server:
        wns, fcm = (
            server.client.post(browser.endpoint, content=iter([b"x" * 200]), headers=server.headers_for(browser))
            for browser in (server.subscribe("wns"), server.subscribe("fcm"))
        )

    assert (wns.status_code, fcm.status_code) == (400, 201)


def claims_with(browser: Browser, **changes: Any) -> dict[str, Any]:
    return {"aud": browser.origin, "exp": int(time.time()) + 3600, "sub": SUBJECT} | changes


@pytest.mark.parametrize(("service", "status"), [("fcm", 403), ("mozilla", 401), ("apple", 403), ("wns", 401)])
@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "https://127.0.0.1"},
        {"exp": 1_700_000_000},
        {"exp": 9_999_999_999},
        {"sub": "nobody"},
    ],
)
def test_a_wrong_claim_is_refused(
    server: ApplicationServer, service: str, status: int, changes: dict[str, Any]
) -> None:
    browser = server.subscribe(service)
    header = vapid_header(server.key, claims_with(browser, **changes))

    answer = server.post(browser, headers={"authorization": header})

    assert answer.status_code == status
    assert browser.received == []


@pytest.mark.parametrize(("service", "status"), [("fcm", 401), ("mozilla", 401), ("apple", 403), ("wns", 401)])
def test_a_message_without_vapid_is_refused(server: ApplicationServer, service: str, status: int) -> None:
    assert server.post(server.subscribe(service), headers={"authorization": None}).status_code == status


@pytest.mark.parametrize(
    ("service", "status", "said"),
    [
        ("fcm", 403, "do not correspond to the credentials used to create the subscriptions"),
        ("mozilla", 401, "VAPID public key mismatch"),
        ("apple", 400, "VapidPkHashMismatch"),
        ("wns", 403, ""),
    ],
)
def test_another_key_than_the_subscriptions_is_refused(
    server: ApplicationServer, service: str, status: int, said: str
) -> None:
    browser = server.subscribe(service)
    header = vapid_header(ec.generate_private_key(ec.SECP256R1()), claims_with(browser))

    answer = server.post(browser, headers={"authorization": header})

    assert answer.status_code == status
    assert said in answer.text


def test_apple_alone_refuses_a_subject_at_localhost(server: ApplicationServer) -> None:
    apple, mozilla = server.subscribe("apple"), server.subscribe("mozilla")

    answers = [
        server.post(
            browser,
            headers={"authorization": vapid_header(server.key, claims_with(browser, sub="mailto:a@localhost"))},
        )
        for browser in (apple, mozilla)
    ]

    assert (answers[0].status_code, answers[0].json()) == (403, {"reason": "BadJwtToken"})
    assert answers[1].status_code == 201


def test_mozilla_explains_with_an_errno(server: ApplicationServer) -> None:
    error = server.post(server.subscribe("mozilla"), headers={"ttl": None}).json()

    assert (error["code"], error["errno"], error["error"]) == (400, 111, "Bad Request")


@pytest.mark.parametrize("service", SERVICES)
def test_an_unsubscribed_browser_is_gone(server: ApplicationServer, service: str) -> None:
    browser, unknown = server.subscribe(service), server.subscribe(service)
    browser.unsubscribe()
    unknown.unsubscribe(status=404)

    statuses = [server.post(browser).status_code, server.post(unknown).status_code]

    assert statuses == [410, 404]
    assert browser.received == []


def test_an_endpoint_that_nobody_has_is_not_found(server: ApplicationServer) -> None:
    browser = server.subscribe()
    headers = server.headers_for(browser)

    unknown = server.client.post(f"{browser.origin}/fcm/nobody", headers=headers)
    elsewhere = server.client.post(f"{browser.origin}/elsewhere", headers=headers)

    assert (unknown.status_code, elsewhere.status_code) == (404, 404)


def test_only_posts_are_taken(server: ApplicationServer) -> None:
    assert server.client.get(server.subscribe().endpoint).status_code == 405


def test_an_undecryptable_message_is_accepted_and_counted(server: ApplicationServer) -> None:
    browser = server.subscribe()

    answer = server.post(browser, body=b"x" * 200)

    assert answer.status_code == 201
    assert browser.received == []
    assert len(browser.undecryptable) == 1
    assert server.simulator.counts.undecryptable == 1


def test_two_hosts_are_two_audiences(server: ApplicationServer) -> None:
    first = server.subscribe(host="127.0.0.1")
    second = server.subscribe(host="127.0.0.2")

    right = server.post(second)
    wrong = server.post(second, headers={"authorization": vapid_header(server.key, claims_with(first))})

    assert second.endpoint.startswith(f"https://127.0.0.2:{server.simulator.port}/")
    assert (right.status_code, wrong.status_code) == (201, 403)


def test_the_counts_add_up(server: ApplicationServer) -> None:
    browser = server.subscribe()
    for plaintext in (b"one", b"two", b"one"):
        server.post(browser, plaintext)
    server.post(browser, headers={"ttl": None})
    server.simulator.answers(503, times=1)
    server.post(browser)

    counts = server.simulator.counts

    assert (counts.posts, counts.accepted, counts.refused, counts.faults) == (5, 3, 1, 1)
    assert counts.statuses == {201: 3, 400: 1, 503: 1}
    assert counts.repeats == 1
    assert counts.posts_by_http_version == {"2": 5}
    assert counts.connections == 1
    assert [post.status for post in browser.posts] == [201, 201, 201, 400, 503]


def test_json_bodies_say_they_are_json(server: ApplicationServer) -> None:
    answers = [server.post(server.subscribe(service), headers={"ttl": None}) for service in ("mozilla", "apple")]

    assert [answer.headers["content-type"] for answer in answers] == ["application/json"] * 2
    assert all(json.loads(answer.content) for answer in answers)


def vapid_public_key(vapid: Vapid02) -> str:
    numbers = vapid.public_key.public_numbers()
    return base64url(b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big"))
