import base64
import hashlib
import hmac
import json
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from jose import jwe, jws

from app.web.tokens import MAX_TOKEN_LENGTH, InvalidToken, TokenExpired, TokenVerifier
from tests.support.api import JWT_SECRET_KEY, SettingsFactory, make_token
from tests.support.signing import key_pair
from tests.unit.web.simplejwt_tokens import simplejwt_tokens

FOREIGN_SECRET = "somebody-elses-secret-0123456789-012345"


def _segment(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _signed(claims: bytes, **headers: Any) -> str:
    return jws.sign(claims, JWT_SECRET_KEY, headers=headers, algorithm="HS256")


@pytest.fixture
def verifier(make_settings: SettingsFactory) -> TokenVerifier:
    return TokenVerifier(make_settings())


@pytest.mark.parametrize(
    ("claims", "user_id"),
    [
        ({"user_id": "42"}, "42"),
        ({"user_id": 42}, "42"),
        ({"sub": "ada"}, "ada"),
        ({"sub": 7}, "7"),
        ({"user_id": "42", "sub": "ada"}, "42"),
        ({"user_id": "Grüße 👋"}, "Grüße 👋"),
        ({"user_id": "u" * 255}, "u" * 255),
        ({"user_id": "42", "token_type": "access"}, "42"),
        ({"user_id": "42", "push_anonymous": True}, "42"),
        ({"user_id": "42", "at_hash": "x", "jti": 5, "aud": "elsewhere", "iss": "somebody"}, "42"),
    ],
)
def test_the_user_is_whom_the_token_names(verifier: TokenVerifier, claims: dict[str, Any], user_id: str) -> None:
    assert verifier.user_of(make_token(**claims)) == user_id


def test_a_token_that_names_nobody_is_anonymous_only_by_its_claim(verifier: TokenVerifier) -> None:
    assert verifier.user_of(make_token(push_anonymous=True)) is None
    for claim in ({}, {"push_anonymous": "true"}, {"push_anonymous": 1}, {"push_anonymous": False}):
        with pytest.raises(InvalidToken, match="names no user"):
            verifier.user_of(make_token(**claim))


@pytest.mark.parametrize("user_id", ["", "u" * 256, "a\x00b", "\ud800", True, 1.5, ["42"], {"id": 42}, 10**300])
def test_a_user_id_that_cannot_be_one_is_refused(verifier: TokenVerifier, user_id: Any) -> None:
    with pytest.raises(InvalidToken, match="user_id"):
        verifier.user_of(make_token(user_id=user_id))


@pytest.mark.parametrize("token_type", ["refresh", "sliding", "", None, 1])
def test_only_access_tokens_are_taken(verifier: TokenVerifier, token_type: Any) -> None:
    claims = json.dumps({"user_id": "42", "exp": 2**33, "token_type": token_type}).encode()

    with pytest.raises(InvalidToken, match="access token"):
        verifier.user_of(_signed(claims))


def test_an_expired_token_says_so(verifier: TokenVerifier) -> None:
    with pytest.raises(TokenExpired, match="expired"):
        verifier.user_of(make_token(user_id="42", exp=datetime.now(UTC) - timedelta(seconds=2)))


def test_a_token_that_never_expires_is_refused(verifier: TokenVerifier) -> None:
    with pytest.raises(InvalidToken, match="exp"):
        verifier.user_of(make_token(user_id="42", exp=None))


def test_a_token_of_tomorrow_is_refused(verifier: TokenVerifier) -> None:
    with pytest.raises(InvalidToken, match="not yet valid"):
        verifier.user_of(make_token(user_id="42", nbf=datetime.now(UTC) + timedelta(hours=1)))


def test_a_foreign_signature_is_refused(verifier: TokenVerifier) -> None:
    with pytest.raises(InvalidToken, match="signature"):
        verifier.user_of(make_token(user_id="42", secret=FOREIGN_SECRET))


def test_a_changed_token_is_refused(verifier: TokenVerifier) -> None:
    header, _, signature = make_token(user_id="42").split(".")
    forged = _segment({"user_id": "1", "exp": 2**33})

    with pytest.raises(InvalidToken, match="signature"):
        verifier.user_of(f"{header}.{forged}.{signature}")


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, ["HS256"], {"a": 1}, 5])
def test_a_token_without_a_signature_is_refused(verifier: TokenVerifier, algorithm: Any) -> None:
    claims = _segment({"user_id": "42", "exp": 2**33})
    for signature in ("", "AA"):
        with pytest.raises(InvalidToken, match="algorithm"):
            verifier.user_of(f"{_segment({'alg': algorithm, 'typ': 'JWT'})}.{claims}.{signature}")


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_another_algorithm_than_the_pinned_one_is_refused(verifier: TokenVerifier, algorithm: str) -> None:
    with pytest.raises(InvalidToken, match="Sign with HS256"):
        verifier.user_of(make_token(user_id="42", algorithm=algorithm))


def test_the_public_key_is_no_hmac_secret(make_settings: SettingsFactory) -> None:
    # The classic confusion: a token signed by HMAC with the RSA public key, which everybody knows.
    _, public = key_pair("RSA")
    verifier = TokenVerifier(make_settings(jwt_algorithms="RS256,HS256", jwt_public_key=public))
    mac_input = f"{_segment({'alg': 'HS256', 'typ': 'JWT'})}.{_segment({'user_id': '1', 'exp': 2**33})}"

    for secret in (public, public.strip(), public + "\n"):
        mac = hmac.digest(secret.encode(), mac_input.encode(), hashlib.sha256)
        with pytest.raises(InvalidToken, match="signature"):
            verifier.user_of(f"{mac_input}.{_segment(mac)}")


def test_an_encrypted_bomb_is_refused_without_being_opened(verifier: TokenVerifier) -> None:
    bomb = jwe.encrypt(
        b"0" * 50_000_000, JWT_SECRET_KEY[:32], algorithm="dir", encryption="A128CBC-HS256", zip="DEF"
    )

    with pytest.raises(InvalidToken):
        verifier.user_of(bomb.decode())
    small = jwe.encrypt(b"{}", JWT_SECRET_KEY[:32], algorithm="dir", encryption="A128CBC-HS256").decode()
    with pytest.raises(InvalidToken, match="encrypted"):
        verifier.user_of(small)


def test_a_compressed_payload_is_not_unpacked(verifier: TokenVerifier) -> None:
    compressed = zlib.compress(b'{"user_id": "42", "exp": 8589934592}')

    with pytest.raises(InvalidToken):
        verifier.user_of(_signed(compressed, zip="DEF"))


@pytest.mark.parametrize("headers", [{"crit": ["b64"], "b64": False}, {"crit": []}])
def test_a_header_that_demands_more_is_refused(verifier: TokenVerifier, headers: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken, match="demands"):
        verifier.user_of(_signed(b'{"user_id": "42", "exp": 8589934592}', **headers))


def test_keys_in_the_header_are_ignored(verifier: TokenVerifier) -> None:
    own_key = {"kty": "oct", "k": _segment(FOREIGN_SECRET.encode())}
    token = jws.sign(
        {"user_id": "1", "exp": 2**33},
        FOREIGN_SECRET,
        headers={
            "jwk": own_key,
            "jku": "http://127.0.0.1/keys",
            "x5u": "http://127.0.0.1/certificate",
            "kid": "../../dev/null",
        },
    )

    with pytest.raises(InvalidToken, match="signature"):
        verifier.user_of(token)


def test_of_a_member_that_stands_twice_the_last_one_counts(verifier: TokenVerifier) -> None:
    claims = b'{"user_id": "1", "user_id": "42", "exp": 0, "exp": 8589934592}'
    header = b'{"alg": "HS256", "alg": "none"}'
    unsigned = f"{_segment(header)}.{_segment(claims)}."

    assert verifier.user_of(_signed(claims)) == "42"
    with pytest.raises(InvalidToken, match="algorithm"):
        verifier.user_of(unsigned)


def test_a_token_of_more_than_8_kib_is_refused(verifier: TokenVerifier) -> None:
    with pytest.raises(InvalidToken, match=f"{MAX_TOKEN_LENGTH}"):
        verifier.user_of(make_token(user_id="42", padding="x" * MAX_TOKEN_LENGTH))


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "....",
        "a.b",
        "a.b.c",
        "ü.ü.ü",
        "e30.e30.e30",
        "bnVsbA.e30.e30",
        "W10.e30.e30",
        f"{_segment(b'[' * 5000)}.e30.AA",
        f"{_segment(b'9' * 5000)}.e30.AA",
        f"{_segment(bytes([255, 254]))}.e30.AA",
        "\x00.\x00.\x00",
        " . . ",
        "a" * 8192,
    ],
)
def test_what_is_no_jwt_is_refused(verifier: TokenVerifier, token: str) -> None:
    with pytest.raises(InvalidToken):
        verifier.user_of(token)


@pytest.mark.parametrize(
    "claims",
    [
        b'{"user_id": "42", "exp": Infinity}',
        b'{"user_id": "42", "exp": NaN}',
        b'{"user_id": "42", "exp": 1e999}',
        b'{"user_id": "42", "exp": null}',
        b'{"user_id": "42", "exp": [1]}',
        b'{"user_id": "42", "exp": {}}',
        b'{"user_id": "42", "exp": "tomorrow"}',
        b'{"user_id": "42", "exp": 8589934592, "nbf": Infinity}',
        b'{"user_id": "42", "exp": 8589934592, "iat": []}',
        b'["user_id"]',
        b'"text"',
        b"null",
        b"\xff",
        b"",
        b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'{"exp": ' + b"9" * 5000 + b"}",
    ],
)
def test_odd_claims_are_refused_though_rightly_signed(verifier: TokenVerifier, claims: bytes) -> None:
    with pytest.raises(InvalidToken):
        verifier.user_of(_signed(claims))


def test_no_complaint_repeats_the_token(verifier: TokenVerifier) -> None:
    token = make_token(user_id="very-secret-user", secret=FOREIGN_SECRET)

    with pytest.raises(InvalidToken) as refused:
        verifier.user_of(token)

    assert token not in str(refused.value)
    assert "very-secret" not in str(refused.value)


def test_simplejwts_access_tokens_work_as_they_are(verifier: TokenVerifier) -> None:
    tokens = simplejwt_tokens(SIGNING_KEY=JWT_SECRET_KEY)

    assert verifier.user_of(tokens["access"]) == "42"
    with pytest.raises(InvalidToken, match="refresh"):
        verifier.user_of(tokens["refresh"])
