"""Whatever notification is accepted: each browser's message holds it, in one record, and says all of it."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.delivery.forms import RECEIPT, Payloads
from app.delivery.payload import PublicUrls, payload_fields
from app.delivery.token import ReceiptTokens
from app.models import Notification
from app.notifications.intake import PayloadTooLarge, new_notification, refuse_too_large
from app.notifications.schemas import BroadcastRequest, WebUrl
from app.push.endpoint import PushServiceKind
from app.push.message import DECLARATIVE, MAX_PLAINTEXT_BYTES
from app.simulator.reading import fields_of
from tests.support.fuzzing import examples

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
TENANT = UUID(int=1)
TOKENS = ReceiptTokens(b"k" * 32)
WEB_URL: TypeAdapter[str] = TypeAdapter(WebUrl)


def is_url(text: str) -> bool:
    try:
        WEB_URL.validate_python(text)
    except ValidationError:
        return False
    return True


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
NAMES = TEXTS.filter(str.strip)
LONG = st.builds(str.__mul__, st.sampled_from(["x", "é", "☕", '"', "\n"]), st.integers(500, 4000))
ODD_TEXTS = st.text("aé:/?#@[]\\%.-_~!|<>^1", max_size=12)
ODD_URLS = (ODD_TEXTS | ODD_TEXTS.map("https://{}".format) | ODD_TEXTS.map("http:{}".format)).filter(is_url)
USUAL_URLS = st.sampled_from(["/read", "read", "?page=2", "//other.example/", "https://example.com/ü?a=b#c"])
WEB_URLS = st.one_of(*[USUAL_URLS] * 19, ODD_URLS)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=5)
ACTIONS = st.fixed_dictionaries({"action": NAMES, "title": NAMES}, optional={"icon": WEB_URLS, "url": WEB_URLS})
REQUESTS = st.fixed_dictionaries(
    {"title": NAMES, "body": TEXTS | LONG},
    optional={
        **dict.fromkeys(("icon", "image", "badge", "url"), WEB_URLS),
        "tag": NAMES,
        "type": NAMES,
        "actions": st.lists(ACTIONS, max_size=3),
        "data": st.dictionaries(TEXTS, VALUES, max_size=3),
        "app_badge": st.integers(0, 2**31 - 1),
        "scheduled_at": st.just("2026-02-03T04:05:06+02:00"),
    },
)
SITES = st.sampled_from(
    ["https://example.com", "http://localhost:8000/a/", "https://example.com/ä", "example.com", None]
)


def refusal_of(notification: Notification, payloads: Payloads) -> dict[str, Any] | None:
    try:
        refuse_too_large(notification, payloads)
    except PayloadTooLarge as refusal:
        return refusal.extensions
    return None


@settings(max_examples=examples(100))
@given(content=REQUESTS, site=SITES, assets=SITES, is_padded=st.booleans())
def test_every_browser_gets_all_of_an_accepted_notification(
    content: dict[str, Any], site: str | None, assets: str | None, is_padded: bool
) -> None:
    request = BroadcastRequest.model_validate(content)
    payloads = Payloads(PublicUrls(site, assets), is_padded=is_padded)
    notification = new_notification(request, TENANT, NOW, default_ttl_seconds=60)
    refusal = refusal_of(notification, payloads)
    if refusal is not None:
        assert sum(refusal["bytes_by_field"].values()) == refusal["bytes"] > MAX_PLAINTEXT_BYTES
        return

    [token] = TOKENS.make(notification.id, NOW, 60, [str(UUID(int=2))])
    for service in PushServiceKind:
        form = payloads.form_of(notification, service)
        plaintext = form.before + token + form.after

        assert len(plaintext) <= MAX_PLAINTEXT_BYTES
        fields = fields_of(plaintext, content_type=form.content_type)
        assert fields.pop(RECEIPT) == token.decode()
        expected = payload_fields(notification, payloads.urls)
        if form.content_type == DECLARATIVE:
            expected.setdefault("url", site)
            for action in expected.get("actions", []):
                action.setdefault("url", expected["url"])
        assert fields == expected
