import base64

import http_ece
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from app.simulator.decryption import Undecryptable, decrypt
from tests.unit.simulator.sending import public_key_of

AUTH = bytes(range(16))


@pytest.fixture(scope="module")
def browser_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def encrypt(plaintext: bytes, browser_key: ec.EllipticCurvePrivateKey, *, record_size: int = 4096) -> bytes:
    sender_key = ec.generate_private_key(ec.SECP256R1())
    encrypted: bytes = http_ece.encrypt(
        plaintext,
        private_key=sender_key,
        dh=unpadded(public_key_of(browser_key)),
        auth_secret=AUTH,
        rs=record_size,
    )
    return encrypted


def unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_the_example_of_rfc_8291_is_read() -> None:
    # RFC 8291, section 5 and appendix A.
    private_key = int.from_bytes(unpadded("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"), "big")
    body = unpadded(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml"
        "mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT"
        "pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )

    plaintext = decrypt(
        body,
        private_key=ec.derive_private_key(private_key, ec.SECP256R1()),
        auth=unpadded("BTBZMqHH6r4Tts7J_aSIgg"),
    )

    assert plaintext == b"When I grow up, I want to be a watermelon"


def test_the_largest_message_is_read(browser_key: ec.EllipticCurvePrivateKey) -> None:
    body = encrypt(b"x" * 3993, browser_key)

    assert len(body) == 4096
    assert decrypt(body, private_key=browser_key, auth=AUTH) == b"x" * 3993


def test_another_auth_secret_is_noticed(browser_key: ec.EllipticCurvePrivateKey) -> None:
    body = encrypt(b"hello", browser_key)

    with pytest.raises(Undecryptable):
        decrypt(body, private_key=browser_key, auth=bytes(16))


def test_another_browsers_key_is_noticed(browser_key: ec.EllipticCurvePrivateKey) -> None:
    body = encrypt(b"hello", browser_key)

    with pytest.raises(Undecryptable):
        decrypt(body, private_key=ec.generate_private_key(ec.SECP256R1()), auth=AUTH)


def test_a_changed_bit_is_noticed(browser_key: ec.EllipticCurvePrivateKey) -> None:
    body = bytearray(encrypt(b"hello", browser_key))
    body[-1] ^= 1

    with pytest.raises(Undecryptable):
        decrypt(bytes(body), private_key=browser_key, auth=AUTH)


def test_a_message_of_two_records_is_refused_as_browsers_do(browser_key: ec.EllipticCurvePrivateKey) -> None:
    body = encrypt(b"a message longer than one record", browser_key, record_size=40)

    with pytest.raises(Undecryptable, match="more than one record"):
        decrypt(body, private_key=browser_key, auth=AUTH)


@pytest.mark.parametrize("length", [0, 1, 20, 21, 86])
def test_a_body_that_is_cut_short_is_noticed(browser_key: ec.EllipticCurvePrivateKey, length: int) -> None:
    body = encrypt(b"hello", browser_key)[:length]

    with pytest.raises(Undecryptable, match="too short"):
        decrypt(body, private_key=browser_key, auth=AUTH)


def test_a_key_id_that_is_no_point_is_noticed(browser_key: ec.EllipticCurvePrivateKey) -> None:
    body = bytearray(encrypt(b"hello", browser_key))
    body[22:86] = bytes(64)

    with pytest.raises(Undecryptable):
        decrypt(bytes(body), private_key=browser_key, auth=AUTH)


def test_a_short_key_id_is_noticed(browser_key: ec.EllipticCurvePrivateKey) -> None:
    body = bytearray(encrypt(b"hello", browser_key))
    body[20] = 64

    with pytest.raises(Undecryptable, match="64 bytes"):
        decrypt(bytes(body), private_key=browser_key, auth=AUTH)
