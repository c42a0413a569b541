"""Tokens of tenants' own issuers, and the overlap of keys: whose key opens what, and nothing else."""

from collections.abc import Mapping
from typing import Any

import pytest
from jose import jws

from app.ids import new_id
from app.models import DEFAULT_TENANT_ID
from app.settings import SettingsError
from app.tenants.issuers import Issuer
from app.web.tokens import Bearer, InvalidToken, TokenExpired, TokenVerifier
from tests.support.api import JWT_SECRET_KEY, SettingsFactory, make_token
from tests.support.signing import key_pair

SHOP, NEWS = "https://shop.example", "https://news.example"
SHOP_KEYS, NEWS_KEYS, RSA_KEYS = key_pair("P-256"), key_pair("P-256", 2), key_pair("RSA")
REGISTERED = {SHOP: Issuer(new_id(), SHOP_KEYS[1]), NEWS: Issuer(new_id(), NEWS_KEYS[1])}


def _token(issuer: Any, keys: tuple[str, str] = SHOP_KEYS, algorithm: str = "ES256", **claims: Any) -> str:
    return make_token(**{"user_id": "42", "iss": issuer} | claims, secret=keys[0], algorithm=algorithm)


def _bearer(verifier: TokenVerifier, token: str, registered: Mapping[str, Issuer] = REGISTERED) -> Bearer:
    return verifier.bearer_of(token, lambda: registered)


@pytest.fixture
def verifier(make_settings: SettingsFactory) -> TokenVerifier:
    return TokenVerifier(make_settings())


def test_a_token_of_a_registered_issuer_belongs_to_its_tenant(verifier: TokenVerifier) -> None:
    assert _bearer(verifier, _token(SHOP)) == Bearer(REGISTERED[SHOP].tenant_id, "42")
    assert _bearer(verifier, _token(NEWS, NEWS_KEYS)) == Bearer(REGISTERED[NEWS].tenant_id, "42")
    anonymous = _token(SHOP, user_id=None, push_anonymous=True)
    assert _bearer(verifier, anonymous) == Bearer(REGISTERED[SHOP].tenant_id, None)


@pytest.mark.parametrize(
    "issuer", [None, "https://blog.example", "", SHOP.upper(), f"{SHOP}/", f" {SHOP}", [SHOP], 1]
)
def test_any_other_token_is_the_default_tenants(verifier: TokenVerifier, issuer: Any) -> None:
    token = make_token(user_id="42", iss=issuer)

    assert _bearer(verifier, token) == Bearer(DEFAULT_TENANT_ID, "42")
    with pytest.raises(InvalidToken):
        _bearer(verifier, _token(issuer))


def test_one_tenants_key_never_opens_anothers_issuer(verifier: TokenVerifier) -> None:
    for issuer, keys in ((NEWS, SHOP_KEYS), (SHOP, NEWS_KEYS)):
        with pytest.raises(InvalidToken, match="signature"):
            _bearer(verifier, _token(issuer, keys))


def test_the_secret_of_the_settings_never_opens_a_registered_issuer(make_settings: SettingsFactory) -> None:
    settings = make_settings(
        jwt_algorithms="HS256,ES256", jwt_public_key=NEWS_KEYS[1], jwt_secret_key_previous="p" * 40
    )
    verifier = TokenVerifier(settings)

    for secret in (JWT_SECRET_KEY, "p" * 40):
        with pytest.raises(InvalidToken, match="Sign with ES256"):
            _bearer(verifier, make_token(user_id="42", iss=SHOP, secret=secret))
    with pytest.raises(InvalidToken, match="signature"):
        _bearer(verifier, _token(SHOP, NEWS_KEYS))


def test_a_registered_public_key_is_no_secret(verifier: TokenVerifier) -> None:
    # python-jose refuses to make such a token, so its secret is dressed up a little.
    token = make_token(user_id="42", iss=SHOP, secret=SHOP_KEYS[1].replace("-----", ""))

    with pytest.raises(InvalidToken, match="algorithm"):
        _bearer(verifier, token)


def test_a_tenants_key_does_not_open_the_default_tenant(verifier: TokenVerifier) -> None:
    with pytest.raises(InvalidToken, match="algorithm"):
        _bearer(verifier, _token(None))


def test_a_removed_issuer_opens_nothing(verifier: TokenVerifier) -> None:
    with pytest.raises(InvalidToken):
        _bearer(verifier, _token(SHOP), registered={})


def test_a_tenants_tokens_are_checked_like_all(make_settings: SettingsFactory) -> None:
    verifier = TokenVerifier(make_settings(jwt_audience="push", jwt_issuer="https://blog.example"))

    assert _bearer(verifier, _token(SHOP, aud=["push", "mail"])).user_id == "42"
    for claims in ({}, {"aud": "mail"}, {"aud": "push", "exp": None}, {"aud": "push", "token_type": "refresh"}):
        with pytest.raises(InvalidToken):
            _bearer(verifier, _token(SHOP, **claims))
    with pytest.raises(TokenExpired):
        _bearer(verifier, _token(SHOP, aud="push", exp=1_000_000_000))


def test_issuers_are_asked_for_only_when_a_token_names_one(verifier: TokenVerifier) -> None:
    def ask() -> Mapping[str, Issuer]:
        raise AssertionError("asked")

    assert verifier.bearer_of(make_token(user_id="42"), ask).user_id == "42"
    for token in ("a.b.c", "", make_token(user_id="42", iss=["x"], secret="f" * 40)):
        with pytest.raises(InvalidToken):
            verifier.bearer_of(token, ask)


def test_the_settings_own_issuer_is_theirs_whoever_had_registered_it(make_settings: SettingsFactory) -> None:
    verifier = TokenVerifier(make_settings(jwt_issuer=SHOP))

    assert _bearer(verifier, make_token(user_id="42", iss=SHOP)) == Bearer(DEFAULT_TENANT_ID, "42")
    with pytest.raises(InvalidToken, match="algorithm"):
        _bearer(verifier, _token(SHOP))


def test_of_an_issuer_named_twice_the_one_that_counts_is_the_one_that_is_verified(verifier: TokenVerifier) -> None:
    claims = '{"user_id": "42", "exp": 8589934592, "iss": "%s", "iss": "%s"}'
    ours, theirs = (
        [jws.sign((claims % pair).encode(), key, algorithm=algorithm) for pair in ((SHOP, "blog"), ("blog", SHOP))]
        for key, algorithm in ((JWT_SECRET_KEY, "HS256"), (SHOP_KEYS[0], "ES256"))
    )

    assert _bearer(verifier, ours[0]).tenant_id == DEFAULT_TENANT_ID
    assert _bearer(verifier, theirs[1]).tenant_id == REGISTERED[SHOP].tenant_id
    for token in (ours[1], theirs[0]):
        with pytest.raises(InvalidToken, match="algorithm"):
            _bearer(verifier, token)


def test_keys_that_a_token_brings_along_open_no_tenant(verifier: TokenVerifier) -> None:
    brought = {"jwk": {"kty": "oct", "k": "QQ"}, "jku": "http://127.0.0.1/", "x5u": "http://127.0.0.1/", "kid": "1"}
    claims = {"user_id": "42", "exp": 2**33, "iss": SHOP}

    token = jws.sign(claims, NEWS_KEYS[0], headers={**brought, "x5c": [NEWS_KEYS[1]]}, algorithm="ES256")

    with pytest.raises(InvalidToken, match="signature"):
        _bearer(verifier, token)


def test_an_issuers_keys_are_rotated_with_an_overlap(verifier: TokenVerifier) -> None:
    both = {SHOP: Issuer(new_id(), SHOP_KEYS[1] + RSA_KEYS[1])}

    assert _bearer(verifier, _token(SHOP), both).user_id == "42"
    assert _bearer(verifier, _token(SHOP, RSA_KEYS, "RS384"), both).user_id == "42"
    with pytest.raises(InvalidToken, match="signature"):
        _bearer(verifier, _token(SHOP, NEWS_KEYS), both)


@pytest.mark.parametrize("stored", ["", "made up by hand", key_pair("RSA-1024")[1]])
def test_keys_that_another_hand_stored_and_nobody_can_read_open_nothing(
    verifier: TokenVerifier, stored: str
) -> None:
    with pytest.raises(InvalidToken, match="cannot be used"):
        _bearer(verifier, _token(SHOP), {SHOP: Issuer(new_id(), stored)})


def test_the_settings_public_key_is_rotated_with_an_overlap(make_settings: SettingsFactory) -> None:
    both = TokenVerifier(make_settings(jwt_algorithms="ES256", jwt_public_key=SHOP_KEYS[1] + NEWS_KEYS[1]))
    mixed = TokenVerifier(
        make_settings(jwt_algorithms="RS256,ES256", jwt_public_key=f"{SHOP_KEYS[1]}\\n{RSA_KEYS[1]}")
    )

    assert {both.user_of(_token(None, keys)) for keys in (SHOP_KEYS, NEWS_KEYS)} == {"42"}
    assert mixed.user_of(_token(None)) == mixed.user_of(_token(None, RSA_KEYS, "RS256")) == "42"
    with pytest.raises(InvalidToken, match="signature"):
        mixed.user_of(_token(None, NEWS_KEYS))


@pytest.mark.parametrize(
    ("algorithms", "public_key", "complaint"),
    [
        ("RS256", RSA_KEYS[1] + SHOP_KEYS[1], "none of JWT_ALGORITHMS can use: they need RSA"),
        ("RS256,ES384", RSA_KEYS[1], "lists ES384, which needs .* secp384r1"),
        ("RS256", key_pair("RSA-1024")[1], "holds an RSA key of 1024 bits"),
        ("RS256", SHOP_KEYS[0], "holds a private key"),
    ],
)
def test_public_keys_that_could_not_serve_stop_the_start(
    make_settings: SettingsFactory, algorithms: str, public_key: str, complaint: str
) -> None:
    with pytest.raises(SettingsError, match=f"JWT_(PUBLIC_KEY|ALGORITHMS).*{complaint}") as refused:
        TokenVerifier(make_settings(jwt_algorithms=algorithms, jwt_public_key=public_key))

    assert "BEGIN" not in str(refused.value)
