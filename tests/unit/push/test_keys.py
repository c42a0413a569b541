import base64

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

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
from tests.unit.push.builders import AUTH, P256DH, SENDER_PRIVATE, SENDER_PUBLIC

RAW_POINT = decode_base64url(P256DH)


@pytest.mark.parametrize(
    "spelling",
    [P256DH, P256DH + "=", base64.b64encode(RAW_POINT).decode(), P256DH.replace("-", "+").replace("_", "/")],
)
def test_the_rfcs_p256dh_is_read_in_every_spelling(spelling: str) -> None:
    assert normalise_p256dh(spelling) == P256DH


@pytest.mark.parametrize("spelling", [AUTH, AUTH + "==", AUTH.replace("_", "/")])
def test_the_rfcs_auth_is_read_in_every_spelling(spelling: str) -> None:
    assert normalise_auth(spelling) == AUTH


OFF_THE_CURVE = RAW_POINT[:-1] + bytes([RAW_POINT[-1] ^ 1])
COMPRESSED = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), RAW_POINT).public_bytes(
    Encoding.X962, PublicFormat.CompressedPoint
)


@pytest.mark.parametrize(
    "p256dh",
    [
        "",
        "not base64url!",
        P256DH + "\n",
        " " + P256DH,
        P256DH + "===",
        P256DH[:-1],
        P256DH + "AA",
        "é" + P256DH,
        "A" * 1_000_000,
        encode_base64url(OFF_THE_CURVE),
        encode_base64url(COMPRESSED),
        encode_base64url(b"\x04" + bytes(64)),
        encode_base64url(b"\x04" + b"\xff" * 64),
        encode_base64url(b"\x00" * 65),
        encode_base64url(b"\x06" + RAW_POINT[1:]),
        encode_base64url(RAW_POINT[1:]),
    ],
)
def test_what_is_not_an_uncompressed_point_on_the_curve_is_refused(p256dh: str) -> None:
    with pytest.raises(InvalidSubscriptionKeys) as refusal:
        normalise_p256dh(p256dh)

    assert refusal.value.field == "p256dh"
    assert str(refusal.value).startswith("p256dh ")
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("auth", ["", "!", encode_base64url(bytes(15)), encode_base64url(bytes(17)), AUTH + "\x00"])
def test_an_auth_that_has_not_16_bytes_is_refused(auth: str) -> None:
    with pytest.raises(InvalidSubscriptionKeys) as refusal:
        normalise_auth(auth)

    assert refusal.value.field == "auth"


def private_pem(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
    form: PrivateFormat = PrivateFormat.PKCS8,
    protection: KeySerializationEncryption | None = None,
) -> str:
    key = key or ec.derive_private_key(int.from_bytes(decode_base64url(SENDER_PRIVATE), "big"), ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, form, protection or NoEncryption()).decode()


def test_the_rfcs_application_server_key_is_derived_from_its_private_half() -> None:
    assert VapidKey.load(SENDER_PRIVATE).public == SENDER_PUBLIC


@pytest.mark.parametrize(
    "private",
    [
        SENDER_PRIVATE + "=",
        f" {SENDER_PRIVATE}\n",
        private_pem(),
        private_pem(form=PrivateFormat.TraditionalOpenSSL),
        "\n" + private_pem() + "\n",
        private_pem().strip().replace("\n", "\\n"),
        "".join(private_pem().splitlines()[1:-1]),
    ],
)
def test_a_private_key_is_read_in_every_usual_form(private: str) -> None:
    key = VapidKey.load(private)

    assert key.public == SENDER_PUBLIC
    assert key.export_private() == SENDER_PRIVATE


@pytest.mark.parametrize(
    "private",
    [
        "",
        "changeme",
        SENDER_PUBLIC,
        encode_base64url(bytes(32)),
        encode_base64url(b"\xff" * 32),
        "-----BEGIN EC PRIVATE KEY-----\nnonsense\n-----END EC PRIVATE KEY-----",
        private_pem(rsa.generate_private_key(65537, 2048)),
        private_pem(ec.generate_private_key(ec.SECP384R1())),
        private_pem(protection=BestAvailableEncryption(b"secret")),
    ],
)
def test_what_is_no_p256_private_key_is_refused_without_repeating_it(private: str) -> None:
    with pytest.raises(InvalidVapidKey) as refusal:
        VapidKey.load(private)

    assert not private or private not in str(refusal.value)


def test_a_public_key_is_read_in_every_usual_form() -> None:
    public_key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decode_base64url(SENDER_PUBLIC))
    pem = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    forms = [SENDER_PUBLIC, SENDER_PUBLIC + "=", pem, pem.replace("\n", "\\n"), "".join(pem.splitlines()[1:-1])]

    assert {normalise_application_server_key(form) for form in forms} == {SENDER_PUBLIC}


@pytest.mark.parametrize("public", ["", "nonsense", AUTH, encode_base64url(OFF_THE_CURVE), private_pem()])
def test_what_is_no_application_server_key_is_refused(public: str) -> None:
    with pytest.raises(InvalidVapidKey):
        normalise_application_server_key(public)


def test_a_pair_that_belongs_together_is_taken() -> None:
    assert VapidKey.load(SENDER_PRIVATE, SENDER_PUBLIC).public == SENDER_PUBLIC


def test_a_pair_that_does_not_belong_together_is_refused() -> None:
    with pytest.raises(InvalidVapidKey, match="do not belong together"):
        VapidKey.load(SENDER_PRIVATE, VapidKey.generate().public)


def test_a_generated_key_survives_export_and_load() -> None:
    key = VapidKey.generate()

    assert VapidKey.load(key.export_private(), key.public) == key
    assert VapidKey.generate() != key


def test_a_vapid_keys_repr_holds_no_secret() -> None:
    assert SENDER_PRIVATE not in repr(VapidKey.load(SENDER_PRIVATE))
    assert "private" not in repr(VapidKey.load(SENDER_PRIVATE)).lower()


def test_a_signature_verifies_and_has_64_bytes() -> None:
    key = VapidKey.load(SENDER_PRIVATE)

    signature = key.sign(b"content")

    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    public_key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decode_base64url(key.public))
    public_key.verify(encode_dss_signature(r, s), b"content", ec.ECDSA(hashes.SHA256()))
    assert len(signature) == 64
