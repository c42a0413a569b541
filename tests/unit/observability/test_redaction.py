from datetime import UTC, datetime
from typing import Any

import pytest

from app.observability.redaction import MASK, Redactor

redactor = Redactor(extra_hosts=("push.example.net",))
JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VyX2lkIjoiNDIifQ.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://fcm.googleapis.com/fcm/send/dGVz:APA91b failed", f"https://fcm.googleapis.com/{MASK} failed"),
        ("'https://web.push.apple.com/QGuQyavXutn', 410", f"'https://web.push.apple.com/{MASK}', 410"),
        ("https://updates.push.services.mozilla.com/wpush/v2/gAAA", f"https://updates.push.services.mozilla.com/{MASK}"),
        ("https://par02p.notify.windows.com/w/?token=BQYAAAC", f"https://par02p.notify.windows.com/{MASK}"),
        ("https://push.example.net:8443/a/b", f"https://push.example.net:8443/{MASK}"),
        ("postgresql://user:p4ss@db/push", f"postgresql://{MASK}@db/push"),
        ("redis://:p4ss@cache:6379/0", f"redis://{MASK}@cache:6379/0"),
        (f"token {JWT} refused", f"token {MASK} refused"),
        (f"key pns_AbCdEfGh{'-' * 35} refused", f"key pns_AbCdEfGh{MASK} refused"),
        ("Authorization: Bearer 0123456789abcdef0123", f"Authorization: Bearer {MASK}"),
        ("vapid t=abcdefghijklmnop.qr.st, k=BAAA_-x", f"vapid {MASK}"),
        ("[parameters: {'endpoint': 'x'}]\n(Background on", f"[parameters: {MASK}]\n(Background on"),
        ("DETAIL:  Key (endpoint)=(abc) already exists.", f"DETAIL: {MASK}"),
    ],
)  # fmt: skip
def test_secrets_in_text_are_masked_and_hosts_stay(text: str, masked: str) -> None:
    assert redactor.text(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "Uvicorn running on http://127.0.0.1:8001",
        "GET /subscriptions/{id}/ 200",
        "see https://docs.example.com/push/setup",
        "mail admin@example.com",
        "a vapid key was generated",
        "pns_AbCdEfGh of blog is revoked",
        "HTTPSConnectionPool(host='fcm.googleapis.com', port=443): timed out",
    ],
)
def test_what_is_harmless_stays(text: str) -> None:
    assert redactor.text(text) == text


@pytest.mark.parametrize(
    "name",
    [
        "endpoint",
        "p256dh",
        "auth",
        "token",
        "Authorization",
        "X-API-Key",
        "x-subscription-auth",
        "HTTP_AUTHORIZATION",
    ],
)
def test_values_of_secret_names_are_masked_whatever_they_are(name: str) -> None:
    assert redactor.member(name, {"any": "thing"}) == MASK


def test_values_are_masked_at_any_depth() -> None:
    found = redactor.value({"a": [({"keys": {"auth": "s"}, "n": 1},)], "b": {"url": f"x {JWT}"}})

    assert found == {"a": [[{"keys": MASK, "n": 1}]], "b": {"url": f"x {MASK}"}}


@pytest.mark.parametrize("value", [1, 1.5, True, None, datetime(2024, 5, 1, tzinfo=UTC)])
def test_plain_values_stay_as_they_are(value: Any) -> None:
    assert redactor.value(value) is value


def test_an_object_becomes_masked_text() -> None:
    error = ValueError("https://fcm.googleapis.com/fcm/send/secret")

    assert redactor.value(error) == f"ValueError('https://fcm.googleapis.com/{MASK}')"


def test_a_structure_without_an_end_has_one() -> None:
    endless: list[Any] = []
    endless.append(endless)

    assert MASK in str(redactor.value(endless))
