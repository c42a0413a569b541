"""Receipt tokens: who may report, about which delivery, and until when."""

import base64
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from app.delivery.token import (
    GRACE,
    KEY_BYTES,
    TOKEN_CHARACTERS,
    DeliveryKey,
    ExpiredToken,
    InvalidToken,
    ReceiptTokens,
)
from app.keyring.service import Keyring

PLANNED_AT = datetime(2026, 11, 23, 7, 30, 15, 123456, tzinfo=UTC)
TTL_SECONDS = 3600
NOTIFICATION, SUBSCRIPTION = UUID(int=7), UUID(int=2**128 - 9)
TOKENS = ReceiptTokens(bytes(range(KEY_BYTES)))


def a_token(tokens: ReceiptTokens = TOKENS) -> str:
    [made] = tokens.make(NOTIFICATION, PLANNED_AT, TTL_SECONDS, [str(SUBSCRIPTION)])
    return made.decode("ascii")


def test_a_token_says_which_delivery_it_is_about() -> None:
    token = a_token()

    read = TOKENS.read(token, now=PLANNED_AT)

    assert read == DeliveryKey(PLANNED_AT, NOTIFICATION, SUBSCRIPTION)
    assert len(token) == TOKEN_CHARACTERS


def test_tokens_come_in_the_order_of_the_subscriptions_and_are_the_same_each_time() -> None:
    ids = [str(UUID(int=number)) for number in (3, 1, 2)]

    made = TOKENS.make(NOTIFICATION, PLANNED_AT, TTL_SECONDS, ids)

    read = [TOKENS.read(token.decode(), now=PLANNED_AT).subscription_id for token in made]
    assert [str(each) for each in read] == ids
    assert TOKENS.make(NOTIFICATION, PLANNED_AT, TTL_SECONDS, ids) == made


def test_a_token_ends_some_time_after_the_messages_own_time() -> None:
    ends_at = datetime(2026, 11, 23, 7, 30, 15, tzinfo=UTC) + timedelta(seconds=TTL_SECONDS) + GRACE

    assert TOKENS.read(a_token(), now=ends_at - timedelta(seconds=1))
    with pytest.raises(ExpiredToken):
        TOKENS.read(a_token(), now=ends_at)


@pytest.mark.parametrize("at", range(60))
def test_a_token_changed_anywhere_is_refused(at: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(a_token()))
    raw[at] ^= 1

    with pytest.raises(InvalidToken):
        TOKENS.read(base64.urlsafe_b64encode(raw).decode(), now=PLANNED_AT)


@pytest.mark.parametrize("text", ["", "x", "x" * 80, "=" * 80, "é" * 80, "\0" * 80, "A" * 79, "A" * 81, " " * 80])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(InvalidToken):
        TOKENS.read(text, now=PLANNED_AT)


def test_a_token_of_another_secret_key_is_refused() -> None:
    others = ReceiptTokens(Keyring("another secret key of this length").receipt_key)

    with pytest.raises(InvalidToken):
        TOKENS.read(a_token(others), now=PLANNED_AT)
