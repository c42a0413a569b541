"""A service sends, looks up what came of it, and is told clearly what is wrong with a bad request."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from tests.integration.sending.conftest import BROADCAST, CONTENT, SEND
from tests.support.api import make_token

SOME_ID = "0199a000-0000-7000-8000-000000000000"


@pytest.fixture
def send(service):
    """Post to /notifications/send/ as a service."""

    def send(path=SEND, **fields):
        return service.send(path, **fields)

    return send


def test_every_field_of_the_specification_reaches_the_browser(client, subscribe_browser, send, database):
    browser, subscription_id = subscribe_browser(topics=["blog"])

    answer = send(
        topics=["blog"],
        icon="icon.png",
        image="https://images.example.com/big.jpg",
        badge="/badge.png",
        url="/blog/latest-post",
        tag="blog-latest",
        type="blog",
        actions=[{"action": "read", "title": "Read", "icon": "read.png"}, {"action": "later", "title": "Später"}],
        data={"post": 7, "tags": ["a", "b"], "nested": {"ok": True}},
    )

    assert answer.status_code == 200
    [message] = browser.received
    payload = message.json()
    assert UUID(payload.pop("id")) == UUID(answer.json()["notification_id"])
    assert datetime.fromisoformat(payload.pop("created_at")) <= datetime.now(UTC)
    receipt = client.app.state.pipeline.receipt_tokens.read(payload.pop("receipt"), now=datetime.now(UTC))
    [delivery] = database.run("SELECT planned_at, notification_id, subscription_id FROM push_delivery_logs")
    assert tuple(delivery) == (receipt.planned_at, receipt.notification_id, receipt.subscription_id)
    assert receipt.subscription_id == UUID(subscription_id)
    assert payload == {
        "title": "New Blog Post",
        "body": "Check out the latest article",
        "icon": "https://cdn.example.com/assets/icon.png",
        "image": "https://images.example.com/big.jpg",
        "badge": "https://cdn.example.com/badge.png",
        "url": "https://example.com/blog/latest-post",
        "tag": "blog-latest",
        "type": "blog",
        "actions": [
            {"action": "read", "title": "Read", "icon": "https://cdn.example.com/assets/read.png"},
            {"action": "later", "title": "Später"},
        ],
        "data": {"post": 7, "tags": ["a", "b"], "nested": {"ok": True}},
    }


def test_data_arrives_as_it_was_sent_numbers_and_order_included(subscribe_browser, send):
    browser, _ = subscribe_browser(topics=["a"])

    send(topics=["a"], data={"last": 1e300, "first": 1e-07, "id": 12345678901234567890})

    assert b'"data":{"last":1e+300,"first":1e-07,"id":12345678901234567890}' in browser.received[0].plaintext


def test_send_answers_with_the_results_and_the_deliveries(subscribe_browser, send):
    _, subscription_id = subscribe_browser("7")

    answer = send(user_ids=["7"]).json()

    assert {name: answer[name] for name in ("status", "targeted", "pending", "sent", "delivered", "failed")} == {
        "status": "sent",
        "targeted": 1,
        "pending": 0,
        "sent": 1,
        "delivered": 0,
        "failed": 0,
    }
    [delivery] = answer["deliveries"]
    assert (delivery["subscription_id"], delivery["status"], delivery["response_code"]) == (
        subscription_id,
        "sent",
        201,
    )


def test_topics_match_whatever_white_space_surrounds_them(subscribe_browser, send):
    browser, _ = subscribe_browser(topics=[" news "])

    send(topics=["news  "])

    assert len(browser.received) == 1


def test_broadcast_reaches_everybody_who_is_active(client, subscribe_browser, send, user_headers):
    browsers = [
        subscribe_browser(str(number), service=service)[0] for number, service in enumerate(("fcm", "apple"))
    ]
    muted, muted_id = subscribe_browser("3")
    client.put(f"/subscriptions/{muted_id}/", json={"enabled": False}, headers=user_headers("3"))

    answer = send(BROADCAST)

    assert answer.json()["sent"] == 2
    assert [len(browser.received) for browser in (*browsers, muted)] == [1, 1, 0]


def test_what_a_notification_became_can_be_looked_up(client, subscribe_browser, send, service_headers):
    gone, _ = subscribe_browser("1")
    subscribe_browser("2")
    gone.unsubscribe()
    notification_id = send(BROADCAST, type="blog").json()["notification_id"]

    shown = client.get(f"/notifications/{notification_id}/", headers=service_headers).json()
    rows = client.get(
        f"/notifications/{notification_id}/deliveries/?status=expired", headers=service_headers
    ).json()

    assert (shown["title"], shown["type"], shown["status"], shown["targeted"]) == (
        "New Blog Post",
        "blog",
        "sent",
        2,
    )
    assert (shown["sent"], shown["expired"]) == (1, 1)
    [row] = rows["items"]
    assert (row["reason"], row["response_code"]) == ("gone", 410)


def test_deliveries_are_paged_by_cursor_without_losing_or_repeating_any(
    client, subscribe_browser, send, service_headers
):
    ids = {subscribe_browser(str(number))[1] for number in range(5)}
    notification_id = send(BROADCAST).json()["notification_id"]

    seen, cursor = [], ""
    while cursor is not None:
        page = client.get(
            f"/notifications/{notification_id}/deliveries/",
            params={"limit": 2, **({"cursor": cursor} if cursor else {})},
            headers=service_headers,
        ).json()
        seen += [item["subscription_id"] for item in page["items"]]
        cursor = page["next_cursor"]

    assert len(seen) == 5
    assert set(seen) == ids


def test_history_filters_by_type_and_status_and_pages(client, subscribe_browser, send, service_headers):
    gone, _ = subscribe_browser("1")
    for number in range(3):
        send(BROADCAST, title=f"Blog {number}", type="blog")
    gone.unsubscribe()
    send(BROADCAST, title="Alert", type="alert")

    def history(**params):
        return client.get("/notifications/history/", params=params, headers=service_headers).json()

    assert [item["title"] for item in history()["items"]] == ["Alert", "Blog 2", "Blog 1", "Blog 0"]
    second = history(type="blog", page=2, limit=2)
    assert ([item["title"] for item in second["items"]], second["total"], second["page"]) == (["Blog 0"], 3, 2)
    assert [item["title"] for item in history(status="expired")["items"]] == ["Alert"]
    assert history(status="sent")["total"] == 4
    assert history(type="nothing") == {"items": [], "total": 0, "page": 1, "limit": 20}


def test_pending_ones_are_those_unfinished(client, push_service, subscribe_browser, send, service_headers):
    subscribe_browser("1")
    send(BROADCAST, title="Done")
    push_service.answers(503, retry_after=600)
    send(BROADCAST, title="Waits for its next try")

    found = client.get("/notifications/history/?status=pending", headers=service_headers).json()

    assert [(item["title"], item["pending"]) for item in found["items"]] == [("Waits for its next try", 1)]


def test_only_a_single_notification_lists_the_ids_it_was_for(client, send, service_headers):
    ids = [str(uuid4()), str(uuid4())]
    notification_id = send(user_ids=["1", "2"], subscription_ids=ids, topics=["a"]).json()["notification_id"]

    [item] = client.get("/notifications/history/", headers=service_headers).json()["items"]
    shown = client.get(f"/notifications/{notification_id}/", headers=service_headers).json()

    assert item.items() <= shown.items()
    assert item["topics"] == ["a"]
    assert {name: shown[name] for name in shown.keys() - item.keys()} == {
        "user_ids": ["1", "2"],
        "subscription_ids": ids,
        **{"rate_per_second": None, "seconds_left": None},
    }


def test_sending_to_nobody_in_particular_names_broadcast(send):
    answer = send()

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert "/notifications/broadcast/" in answer.json()["detail"]


def test_a_notification_scheduled_for_a_time_gone_by_is_sent_now(subscribe_browser, send):
    browser, _ = subscribe_browser(topics=["a"])

    answer = send(topics=["a"], scheduled_at="2026-01-01T00:00:00Z")

    assert answer.json()["sent"] == 1
    assert browser.received[0].json()["scheduled_at"] == "2026-01-01T00:00:00+00:00"


def test_a_payload_too_large_to_encrypt_is_refused_with_the_bytes_by_field(send, database):
    answer = send(topics=["a"], body="é" * 1900, data={"x": "y" * 500})

    assert answer.status_code == 422
    problem = answer.json()
    assert problem["type"] == "/problems/payload-too-large"
    assert problem["bytes"] > problem["max_bytes"] == 3993
    assert next(iter(problem["bytes_by_field"])) == "body"
    assert database.notifications() == 0


def test_the_largest_payload_that_fits_arrives_and_the_answer_warns(subscribe_browser, send):
    apple, _ = subscribe_browser("1", service="apple", topics=["a"])
    other, _ = subscribe_browser("2", topics=["a"])
    bytes_over = send(topics=["a"], body="x" * 3900).json()["bytes"] - 3993

    answer = send(topics=["a"], body="x" * (3900 - bytes_over)).json()

    assert answer["sent"] == 2
    assert [len(apple.received[0].plaintext), apple.unshowable] == [3993, []]
    [warning] = answer["warnings"]
    assert (warning["code"], warning["limit"]) == ("large-payload", 2744)
    assert warning["bytes"] == len(other.received[0].plaintext)


def test_safari_gets_the_declarative_form_of_the_same_notification(subscribe_browser, send):
    apple, _ = subscribe_browser("1", service="apple")
    other, _ = subscribe_browser("2")

    answer = send(
        user_ids=["1", "2"],
        url="/read",
        icon="i.png",
        actions=[{"action": "a", "title": "A", "url": "/a"}],
        app_badge=0,
    )

    [message], [classic] = apple.received, other.received
    assert (answer.json()["sent"], answer.json()["warnings"]) == (2, [])
    assert message.post.content_type == "application/notification+json"
    assert message.fields().pop("receipt") != classic.json()["receipt"]
    assert message.fields() | {"receipt": ""} == classic.json() | {"receipt": ""}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", SEND),
        ("POST", BROADCAST),
        ("GET", "/notifications/history/"),
        ("GET", f"/notifications/{SOME_ID}/"),
        ("GET", f"/notifications/{SOME_ID}/deliveries/"),
        ("GET", "/notifications/by-key/some-key"),
        ("POST", f"/notifications/{SOME_ID}/cancel"),
    ],
)
def test_only_services_send_and_read(client, user_headers, method, path):
    body = {"json": {**CONTENT, "topics": ["a"]}} if method == "POST" and "send" in path else {}

    nobody = client.request(method, path, **body)
    a_user = client.request(method, path, headers=user_headers("1"), **body)
    wrong_key = client.request(method, path, headers={"X-API-Key": "wrong"}, **body)
    wrong_algorithm = client.request(
        method, path, headers={"Authorization": f"Bearer {make_token(algorithm='HS512', user_id='1')}"}, **body
    )

    assert [answer.status_code for answer in (nobody, a_user, wrong_key, wrong_algorithm)] == [401, 403, 401, 401]


def test_an_unknown_notification_is_a_404(client, service_headers):
    answer = client.get(f"/notifications/{uuid4()}/", headers=service_headers)

    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/notification-not-found"
