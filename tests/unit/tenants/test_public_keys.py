import pytest

from app.tenants.public_keys import MAX_KEYS, InvalidPublicKey, read_public_keys
from tests.support.signing import key_pair

RSA = key_pair("RSA")[1]


@pytest.mark.parametrize(
    ("kind", "algorithms"),
    [
        ("RSA", ("RS256", "RS384", "RS512")),
        ("P-256", ("ES256",)),
        ("P-384", ("ES384",)),
        ("P-521", ("ES512",)),
    ],
)
def test_a_key_verifies_the_algorithms_of_its_kind(kind: str, algorithms: tuple[str, ...]) -> None:
    [public_key] = read_public_keys(key_pair(kind)[1])

    assert public_key.algorithms == algorithms


def test_several_keys_are_read_in_any_usual_form() -> None:
    text = f"# the old one\n{RSA}\r\n# the new one\n" + key_pair("P-256")[1].replace("\n", "\\n")

    assert [each.kind for each in read_public_keys(text)] == ["RSA", "secp256r1"]


# With names of their own: keys are made anew in each process, which must all collect the same tests.
REFUSED = {
    "nothing": ("", "not a public key in PEM"),
    "a secret": ("a secret", "not a public key in PEM"),
    "half a key": (RSA[:100], "not a public key in PEM"),
    "half a second key": (RSA + RSA[:100], "not a public key in PEM"),
    "a damaged key": (RSA.replace("M", "!", 1), "not a public key in PEM"),
    "an empty key": ("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----", "not a public key in PEM"),
    "a certificate": (RSA.replace("PUBLIC KEY", "CERTIFICATE"), "other than public keys"),
    "a private key": (key_pair("RSA")[0], "a private key"),
    "a private key beside a public one": (RSA + key_pair("P-256")[0], "a private key"),
    "a short key": (key_pair("RSA-1024")[1], "of 1024 bits. 2048 are the least"),
    "another curve": (key_pair("secp256k1")[1], "neither RSA nor on the curve"),
    "another kind": (key_pair("Ed25519")[1], "neither RSA nor on the curve"),
    "too many": (RSA * (MAX_KEYS + 1), "more than 8 keys"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_could_verify_nothing_is_refused(what: str) -> None:
    text, complaint = REFUSED[what]

    with pytest.raises(InvalidPublicKey, match=complaint):
        read_public_keys(text)
