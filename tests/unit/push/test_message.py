import re

from hypothesis import given
from hypothesis import strategies as st

from app.push.message import topic_for
from tests.unit.push.builders import AUTH, P256DH, a_message


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_a_topic_is_32_characters_of_base64url(collapse_key: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{32}", topic_for(collapse_key))


def test_equal_collapse_keys_have_one_topic_and_others_another() -> None:
    assert topic_for("order-1") == topic_for("order-1")
    assert topic_for("order-1") != topic_for("order-2")


def test_a_messages_repr_holds_no_secret() -> None:
    text = repr(a_message("https://fcm.googleapis.com/fcm/send/secret", ref=7))

    assert "secret" not in text
    assert P256DH not in text
    assert AUTH not in text
    assert "ref=7" in text
