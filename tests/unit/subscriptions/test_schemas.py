"""What POST and PUT take, and what they refuse by name."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from app.push.keys import encode_base64url
from app.subscriptions.schemas import SubscriptionChange, SubscriptionIn
from tests.support.browser_keys import OFF_THE_CURVE, a_flat_subscription, a_subscription, browser_keys

KEYS = browser_keys(1)


def refusal(members: dict[str, Any], schema: type[SubscriptionIn | SubscriptionChange] = SubscriptionIn) -> str:
    """Return where the one error is, and what it says."""
    with pytest.raises(ValidationError) as caught:
        schema.model_validate(members)
    (error,) = caught.value.errors()
    return f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}"


def test_what_a_browser_gives_and_the_flat_form_are_the_same() -> None:
    nested = SubscriptionIn.model_validate(a_subscription())
    flat = SubscriptionIn.model_validate(a_flat_subscription())

    assert nested.to_offer() == flat.to_offer()


def test_members_that_a_browser_adds_are_ignored() -> None:
    subscription = SubscriptionIn.model_validate(a_subscription(contentEncoding="aes128gcm", user_id="a"))

    assert subscription.to_offer() == SubscriptionIn.model_validate(a_subscription()).to_offer()


def test_keys_are_stored_in_one_form_however_they_are_written() -> None:
    padded = {"p256dh": f"{KEYS.p256dh}=".replace("-", "+").replace("_", "/"), "auth": f"{KEYS.auth}=="}

    offer = SubscriptionIn.model_validate(a_subscription(keys=padded)).to_offer()

    assert (offer.p256dh, offer.auth) == (KEYS.p256dh, KEYS.auth)


def test_the_expiration_time_is_milliseconds_since_1970() -> None:
    offer = SubscriptionIn.model_validate(a_subscription(expirationTime=1_700_000_000_500.0)).to_offer()

    assert offer.expires_at == datetime(2023, 11, 14, 22, 13, 20, 500_000, tzinfo=UTC)


def test_topics_are_trimmed_and_repeats_dropped_in_order() -> None:
    offer = SubscriptionIn.model_validate(
        a_subscription(topics=[" news", "blog", "news ", "blog", "a b"])
    ).to_offer()

    assert offer.topics == ["news", "blog", "a b"]


def test_topics_left_out_are_not_no_topics() -> None:
    left_out = SubscriptionIn.model_validate(a_subscription()).to_offer()
    none = SubscriptionIn.model_validate(a_subscription(topics=[])).to_offer()

    assert (left_out.topics, none.topics) == (None, [])


@pytest.mark.parametrize(
    ("members", "where"),
    [
        ({"endpoint": 5}, "endpoint: "),
        ({"endpoint": ""}, "endpoint: "),
        ({"endpoint": "https://updates.push.services.mozilla.com/" + "x" * 10_240}, "endpoint: "),
        ({"endpoint": "https://updates.push.services.mozilla.com/\x00"}, "endpoint: "),
        ({"keys": None}, ": Value error, keys is missing"),
        ({"keys": {"auth": KEYS.auth}}, "keys.p256dh: "),
        ({"keys": {"p256dh": KEYS.p256dh}}, "keys.auth: "),
        ({"keys": {"p256dh": OFF_THE_CURVE, "auth": KEYS.auth}}, "keys.p256dh: Value error, p256dh is not a point"),
        ({"keys": {"p256dh": KEYS.auth, "auth": KEYS.auth}}, "keys.p256dh: "),
        (
            {"keys": {"p256dh": KEYS.p256dh, "auth": encode_base64url(bytes(15))}},
            "keys.auth: Value error, auth has 15 bytes where 16 belong",
        ),
        ({"keys": {"p256dh": KEYS.p256dh, "auth": "not base64!"}}, "keys.auth: "),
        ({"keys": [KEYS.p256dh, KEYS.auth]}, "keys: "),
        ({"expirationTime": "tomorrow"}, "expirationTime: "),
        ({"expirationTime": True}, "expirationTime: "),
        ({"expirationTime": -1}, "expirationTime: "),
        ({"expirationTime": float("nan")}, "expirationTime: "),
        ({"expirationTime": 1e300}, "expirationTime: "),
        ({"topics": "blog"}, "topics: "),
        ({"topics": [f"topic-{number}" for number in range(1000)]}, "topics: "),
        ({"topics": ["blog", 5]}, "topics.1: "),
        ({"topics": ["   "]}, "topics.0: Value error, must not be blank"),
        ({"topics": ["x" * 101]}, "topics.0: "),
        ({"topics": ["a\x00b"]}, "topics.0: "),
        ({"topics": ["\ud800"]}, "topics.0: "),
        ({"enabled": "yes"}, "enabled: "),
        ({"enabled": 1}, "enabled: "),
        ({"enabled": None}, "enabled: "),
        ({"application_server_key": "BAD"}, "application_server_key: "),
        ({"application_server_key": OFF_THE_CURVE}, "application_server_key: "),
        ({"application_server_key": "\ud800"}, "application_server_key: "),
    ],
)
def test_a_refused_subscription_says_which_member_is_wrong(members: dict[str, Any], where: str) -> None:
    assert refusal(a_subscription(**members)).startswith(where)


def test_half_of_the_flat_form_is_refused() -> None:
    members = a_flat_subscription()
    del members["auth"]

    assert "keys is missing" in refusal(members)


@pytest.mark.parametrize(
    ("members", "where"),
    [
        ({}, ": Value error, nothing to change"),
        ({"topics": None}, ": Value error, nothing to change"),
        ({"user_id": "b", "enabled": True}, "user_id: "),
        ({"topics": [""]}, "topics.0: "),
        ({"topics": ["x"] * 101}, "topics: "),
        ({"enabled": "false"}, "enabled: "),
    ],
)
def test_a_refused_change_says_which_member_is_wrong(members: dict[str, Any], where: str) -> None:
    assert refusal(members, SubscriptionChange).startswith(where)


def test_a_change_to_no_topics_at_all_is_a_change() -> None:
    assert SubscriptionChange.model_validate({"topics": []}).topics == []


def test_the_example_in_the_documentation_is_accepted() -> None:
    examples = SubscriptionIn.model_json_schema()["examples"]

    assert [SubscriptionIn.model_validate(example).to_offer().topics for example in examples] == [["blog"]]
