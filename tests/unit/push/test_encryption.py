import http_ece
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from app.push.encryption import Plain, encrypt, encrypt_all
from app.push.keys import InvalidSubscriptionKeys, decode_base64url, encode_base64url
from app.push.message import MAX_PLAINTEXT_BYTES
from app.simulator.decryption import decrypt
from tests.support.fuzzing import examples
from tests.unit.push.builders import AUTH, P256DH, SENDER_PRIVATE

# RFC 8291, appendix A: the browser's private key, the salt, and the whole body.
BROWSER_PRIVATE = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
SALT = "DGv6ra1nlYgDCS1FRnbzlw"
PLAINTEXT = b"When I grow up, I want to be a watermelon"
BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml"
    "mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT"
    "pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)


def private_key(scalar: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(decode_base64url(scalar), "big"), ec.SECP256R1())


BROWSER_KEY = private_key(BROWSER_PRIVATE)


def test_the_example_of_the_rfc_comes_out_to_the_last_byte() -> None:
    body = encrypt(
        PLAINTEXT,
        p256dh=P256DH,
        auth=AUTH,
        private_key=private_key(SENDER_PRIVATE),
        salt=decode_base64url(SALT),
    )

    assert encode_base64url(body) == BODY


@settings(max_examples=examples(30))
@given(payload=st.binary(max_size=200))
def test_another_library_and_the_simulator_read_what_was_written(payload: bytes) -> None:
    body = encrypt(payload, p256dh=P256DH, auth=AUTH)

    auth = decode_base64url(AUTH)
    assert http_ece.decrypt(body, private_key=BROWSER_KEY, auth_secret=auth) == payload
    assert decrypt(body, private_key=BROWSER_KEY, auth=auth) == payload


def test_the_largest_payload_fills_one_record() -> None:
    body = encrypt(b"x" * MAX_PLAINTEXT_BYTES, p256dh=P256DH, auth=AUTH)

    assert len(body) == 4096
    assert len(decrypt(body, private_key=BROWSER_KEY, auth=decode_base64url(AUTH))) == MAX_PLAINTEXT_BYTES


def test_no_two_messages_share_a_salt_or_a_key() -> None:
    bodies = [encrypt(b"same", p256dh=P256DH, auth=AUTH) for _ in range(20)]

    assert len({body[:16] for body in bodies}) == 20
    assert len({body[21:86] for body in bodies}) == 20


@pytest.mark.parametrize(
    ("p256dh", "auth", "field"),
    [
        (P256DH, "AAAA", "auth"),
        (P256DH, "?", "auth"),
        ("", AUTH, "p256dh"),
        (encode_base64url(b"\x04" + b"\x01" * 64), AUTH, "p256dh"),  # not on the curve
        (encode_base64url(b"\x03" + decode_base64url(P256DH)[1:33]), AUTH, "p256dh"),  # compressed
        (encode_base64url(b"\x00"), AUTH, "p256dh"),  # the point at infinity
    ],
)
def test_keys_that_no_browser_gives_are_refused(p256dh: str, auth: str, field: str) -> None:
    with pytest.raises(InvalidSubscriptionKeys) as refusal:
        encrypt(b"x", p256dh=p256dh, auth=auth)

    assert refusal.value.field == field


def test_messages_encrypted_together_are_each_for_their_own_browser() -> None:
    browser_keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
    points = [key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) for key in browser_keys]
    payloads = [b"one", b"two", b"three"]

    bodies = encrypt_all(
        [Plain(payload, encode_base64url(point), AUTH) for payload, point in zip(payloads, points, strict=True)]
    )

    auth = decode_base64url(AUTH)
    read = [
        http_ece.decrypt(body, private_key=key, auth_secret=auth)
        for body, key in zip(bodies, browser_keys, strict=True)
    ]
    assert read == payloads


def test_of_messages_encrypted_together_none_shares_a_key_or_a_salt() -> None:
    bodies = encrypt_all([Plain(b"hello", P256DH, AUTH)] * 20)

    written = [body for body in bodies if isinstance(body, bytes)]
    assert len({body[:16] for body in written}) == 20, "salts"
    assert len({body[21:86] for body in written}) == 20, "public keys"


def test_bad_keys_among_messages_encrypted_together_are_told_in_their_place() -> None:
    not_on_the_curve = encode_base64url(b"\x04" + b"\x01" * 64)

    first, second, third = encrypt_all(
        [Plain(b"hello", P256DH, AUTH), Plain(b"hello", not_on_the_curve, AUTH), Plain(b"hello", P256DH, AUTH)]
    )

    assert [type(body) for body in (first, second, third)] == [bytes, InvalidSubscriptionKeys, bytes]
