from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast
from uuid import UUID

import pytest

from app.delivery.claim import Work
from app.delivery.forms import Payloads
from app.delivery.messages import messages_of
from app.delivery.payload import PublicUrls
from app.delivery.recipients import Recipient
from app.delivery.token import DeliveryKey, ReceiptTokens
from app.models import Notification
from app.push.keys import VapidKey
from app.push.message import DECLARATIVE, OCTET_STREAM, PushMessage

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ID = UUID("01a20000-0000-7000-8000-000000000001")
TOKENS = ReceiptTokens(b"k" * 32)
KEYS = {"key": VapidKey.generate()}


def messages_to(host: str, *endpoints: str, first: int | None = None) -> list[PushMessage]:
    notification = Notification(
        id=ID, title="Hello", body="", type="general", actions=[], created_at=AT, urgency="normal", ttl_seconds=60
    )
    recipients = [
        Recipient(str(UUID(int=number)), endpoint, "", "", "key", 60.0) for number, endpoint in enumerate(endpoints)
    ]
    work = SimpleNamespace(
        notification=notification,
        planned_at=AT,
        lane=SimpleNamespace(endpoint_host=host),
        recipients=recipients,
        turn=SimpleNamespace(messages=len(recipients) if first is None else first),
    )
    payloads = Payloads(PublicUrls("https://example.com/"))
    return messages_of(cast(Work, work), payloads, receipt_tokens=TOKENS, key_pairs=KEYS, claimed_at=0.0)


def test_each_message_carries_the_token_of_its_own_delivery() -> None:
    endpoints = [f"https://fcm.googleapis.com/fcm/send/{number}" for number in range(3)]

    messages = messages_to("fcm.googleapis.com", *endpoints, first=2)

    tokens = [message.payload.rpartition(b'"receipt":"')[2].removesuffix(b'"}').decode() for message in messages]
    assert [TOKENS.read(token, now=AT) for token in tokens] == [DeliveryKey(AT, ID, UUID(int=n)) for n in range(2)]


@pytest.mark.parametrize(
    ("host", "content_type"),
    [
        ("web.push.apple.com", DECLARATIVE),
        ("fcm.googleapis.com", OCTET_STREAM),
        ("updates.push.services.mozilla.com", OCTET_STREAM),
        ("push.example.net:8443", OCTET_STREAM),
    ],
)
def test_apples_browsers_get_the_declarative_form(host: str, content_type: str) -> None:
    [message] = messages_to(host, f"https://{host}/a")

    assert message.content_type == content_type
    assert (b'"web_push":8030' in message.payload) is (content_type == DECLARATIVE)


@pytest.mark.parametrize("host", ["127.0.0.1:8443", "[::1]:8443", "localhost"])
def test_on_loopback_each_gets_the_form_of_the_push_service_that_is_played(host: str) -> None:
    messages = messages_to(host, f"https://{host}/apple/a", f"https://{host}/fcm/apple/a", f"https://{host}/wns/a")

    assert [message.content_type for message in messages] == [DECLARATIVE, OCTET_STREAM, OCTET_STREAM]
