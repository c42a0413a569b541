import pytest

from app.push.curl_request import Preparation
from app.push.endpoint import EndpointPolicy
from app.push.message import DECLARATIVE, PushMessage
from app.push.request import DeadlinePassed
from app.push.vapid import VapidSigner
from tests.unit.push.builders import a_message

NOW = 1000.0


@pytest.fixture
def preparation() -> Preparation:
    return Preparation(policy=EndpointPolicy(), signer=VapidSigner("mailto:push@example.com"))


def headers_of(preparation: Preparation, message: PushMessage, *, now: float) -> list[str]:
    return preparation.request_for(message, b"", preparation.target_of(message), now=now).headers


@pytest.mark.parametrize(
    ("now", "ttl"),
    [(NOW, 20), (NOW + 0.4, 20), (NOW + 0.6, 19), (NOW + 10.6, 9), (NOW + 19.6, 1), (NOW + 20.4, 1)],
)
def test_the_ttl_is_what_is_left_though_the_headers_of_a_batch_are_made_once(
    preparation: Preparation, now: float, ttl: int
) -> None:
    message = a_message(ttl_seconds=3600, expires_at=NOW + 20.5)
    headers_of(preparation, message, now=NOW)

    assert f"TTL: {ttl}" in headers_of(preparation, message, now=now)


def test_a_message_is_late_from_its_deadline_on_whenever_its_headers_were_made(preparation: Preparation) -> None:
    message = a_message(ttl_seconds=3600, expires_at=NOW + 20.5)
    headers_of(preparation, message, now=NOW + 20.4)

    with pytest.raises(DeadlinePassed):
        headers_of(preparation, message, now=NOW + 20.5)


def test_messages_of_a_batch_have_the_same_headers_and_others_their_own(preparation: Preparation) -> None:
    headers = headers_of(preparation, a_message(topic="news"), now=NOW)

    assert headers_of(preparation, a_message(topic="news", payload=b"another"), now=NOW + 1) is headers
    assert headers_of(preparation, a_message(topic="sport"), now=NOW) != headers
    assert headers_of(preparation, a_message(topic="news", ttl_seconds=7), now=NOW) != headers
    assert headers_of(preparation, a_message(topic="news", payload=b""), now=NOW) != headers
    declared = headers_of(preparation, a_message(topic="news", content_type=DECLARATIVE), now=NOW)
    assert set(declared) - set(headers) == {"Content-Type: application/notification+json"}


def test_batches_whose_messages_have_equal_headers_share_them(preparation: Preparation) -> None:
    one, other = (
        a_message(ttl_seconds=3600, expires_at=NOW + 20.5),
        a_message(ttl_seconds=3600, expires_at=NOW + 20.7),
    )

    headers = headers_of(preparation, one, now=NOW)

    assert headers_of(preparation, other, now=NOW) is headers
    assert headers_of(preparation, other, now=NOW + 1) is not headers
