"""Whatever comes as a key: it is refused in words that do not repeat it, or there is one canonical form of it."""

import base64
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import example, given
from hypothesis import strategies as st

from app.push.keys import (
    InvalidSubscriptionKeys,
    InvalidVapidKey,
    VapidKey,
    decode_base64url,
    encode_base64url,
    normalise_application_server_key,
    normalise_auth,
    normalise_p256dh,
)
from tests.unit.push.builders import AUTH, P256DH, SENDER_PRIVATE

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of the curve P-256
SCALARS = st.integers(1, _ORDER - 1) | st.integers(1, 3) | st.integers(_ORDER - 3, _ORDER - 1)
POINTS = SCALARS.map(
    lambda scalar: (
        derive_private_key(scalar, SECP256R1())
        .public_key()
        .public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    )
)
_PREFIXED = st.builds(bytes.__add__, st.sampled_from([b"\x00", b"\x02", b"\x03", b"\x04", b"\x06"]), st.binary())
RAW = st.binary(max_size=140) | st.binary(min_size=65, max_size=65) | _PREFIXED | POINTS
Read = TypeVar("Read")
SPELLINGS: tuple[Callable[[bytes], str], ...] = (
    encode_base64url,
    lambda raw: base64.urlsafe_b64encode(raw).decode(),
    lambda raw: base64.b64encode(raw).decode(),
    lambda raw: base64.b64encode(raw).decode().rstrip("="),
)


@st.composite
def _damaged(draw: st.DrawFn) -> str:
    """Draw a good key in any spelling, a character of it changed, taken out or put in."""
    text = draw(st.sampled_from(SPELLINGS))(draw(POINTS | st.binary(min_size=16, max_size=16)))
    at = draw(st.integers(0, len(text)))
    return text[:at] + draw(st.text(max_size=2)) + text[at + draw(st.integers(0, 2)) :]


TEXTS = st.text(max_size=200) | st.builds(lambda spelling, raw: spelling(raw), st.sampled_from(SPELLINGS), RAW)
KEYS = TEXTS | _damaged() | st.sampled_from([P256DH, AUTH, SENDER_PRIVATE])


@given(KEYS)
@example(encode_base64url(b"\x04" + bytes(64)))
def test_whatever_is_taken_for_a_browsers_public_key_is_a_point_in_its_one_form(text: str) -> None:
    canonical, refusal = _tried(normalise_p256dh, text)
    if canonical is None:
        assert isinstance(refusal, InvalidSubscriptionKeys)
        assert refusal.field == "p256dh"
        return

    assert normalise_p256dh(canonical) == canonical == normalise_application_server_key(canonical)
    assert decode_base64url(canonical) == decode_base64url(text)
    assert _is_on_the_curve(decode_base64url(canonical))


@given(KEYS)
def test_whatever_is_taken_for_an_auth_is_sixteen_bytes_in_their_one_form(text: str) -> None:
    canonical, refusal = _tried(normalise_auth, text)
    if canonical is None:
        assert isinstance(refusal, InvalidSubscriptionKeys)
        assert refusal.field == "auth"
        return

    assert normalise_auth(canonical) == canonical
    assert len(decode_base64url(canonical)) == 16
    assert len(canonical) == 22


@given(KEYS)
def test_whatever_is_taken_for_an_application_server_key_is_a_point_in_its_one_form(text: str) -> None:
    canonical, refusal = _tried(normalise_application_server_key, text)
    if canonical is None:
        assert isinstance(refusal, InvalidVapidKey)
        assert text not in str(refusal) or len(text) < 10
        return

    assert normalise_application_server_key(canonical) == canonical
    assert _is_on_the_curve(decode_base64url(canonical))


@given(POINTS, st.sampled_from(SPELLINGS))
def test_every_point_of_the_curve_is_taken_in_every_spelling(
    point: bytes, spelling: Callable[[bytes], str]
) -> None:
    assert normalise_p256dh(spelling(point)) == encode_base64url(point)


@given(KEYS | st.text(max_size=60).map("-----BEGIN PRIVATE KEY-----{}".format), KEYS | st.none())
def test_whatever_is_taken_for_a_private_key_signs_and_comes_back_the_same(text: str, public: str | None) -> None:
    key, refusal = _tried(partial(VapidKey.load, public=public), text)
    if key is None:
        assert isinstance(refusal, InvalidVapidKey)
        assert text not in str(refusal) or len(text) < 10
        return

    assert VapidKey.load(key.export_private(), key.public) == key
    assert len(key.sign(b"content")) == 64


@given(SCALARS, st.sampled_from([PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL]), st.booleans())
def test_every_private_key_is_taken_in_every_form(scalar: int, form: PrivateFormat, is_on_one_line: bool) -> None:
    private_key = derive_private_key(scalar, SECP256R1())
    pem = private_key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()

    key = VapidKey.load(pem.replace("\n", "\\n") if is_on_one_line else pem)

    assert int.from_bytes(decode_base64url(key.export_private()), "big") == scalar


@given(st.text(max_size=100) | TEXTS)
def test_what_is_read_as_base64url_is_written_as_it_was_but_for_its_spelling(text: str) -> None:
    try:
        raw = decode_base64url(text)
    except ValueError:
        return

    assert decode_base64url(encode_base64url(raw)) == raw
    written = text.translate(str.maketrans("+/", "-_")).rstrip("=")
    assert encode_base64url(raw)[:-1] == written[:-1]


def _tried(read: Callable[[str], Read], text: str) -> tuple[Read | None, ValueError | None]:
    """Return what was read, or why it was not."""
    try:
        return read(text), None
    except (InvalidSubscriptionKeys, InvalidVapidKey) as refusal:
        return None, refusal


def _is_on_the_curve(point: bytes) -> bool:
    """Tell by the curve's equation (SEC 2 section 2.4.2), not by the library that was asked before."""
    p = 2**256 - 2**224 + 2**192 + 2**96 - 1
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    x, y = int.from_bytes(point[1:33], "big"), int.from_bytes(point[33:], "big")
    return len(point) == 65 and point[0] == 4 and max(x, y) < p and (y * y - (x**3 - 3 * x + b)) % p == 0
