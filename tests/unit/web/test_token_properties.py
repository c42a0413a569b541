"""Whatever comes as a token: the verifier says whom it names, or that it is not valid, and nothing else happens."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ids import new_id
from app.tenants.issuers import Issuer
from app.web.tokens import Bearer, InvalidToken, TokenVerifier
from tests.support.api import JWT_SECRET_KEY, build_settings
from tests.support.signing import key_pair

TENANT_ID = new_id()
REGISTERED = {"shop": Issuer(TENANT_ID, key_pair("RSA")[1])}
NUMBERS = st.integers() | st.floats() | st.just(2**33) | st.just(10**400)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=20)
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)
HEADER_NAMES = ("typ", "crit", "kid", "jku", "jwk", "x5u", "zip", "b64", "alg")
CLAIM_NAMES = (
    "exp",
    "iss",
    "user_id",
    "sub",
    "aud",
    "nbf",
    "iat",
    "jti",
    "token_type",
    "at_hash",
    "push_anonymous",
)
# Good ones, of which some members were exchanged for anything.
HEADERS = st.dictionaries(st.sampled_from(HEADER_NAMES), VALUES, max_size=2).map({"alg": "HS256"}.__or__)
CLAIMS = st.dictionaries(st.sampled_from(CLAIM_NAMES), st.just("shop") | st.just(True) | VALUES, max_size=3).map(
    {"user_id": "42", "exp": 2**33}.__or__
)


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> TokenVerifier:
    return TokenVerifier(build_settings(data_dir=tmp_path_factory.mktemp("data")))


def _outcome(verifier: TokenVerifier, token: str) -> Bearer | None:
    """Return whom the token names, None if it is refused. Anything else is raised."""
    try:
        return verifier.bearer_of(token, lambda: REGISTERED)
    except InvalidToken:
        return None


def _segment(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _signed(header: bytes, claims: bytes) -> str:
    """Sign with the secret of the settings, whatever the header says."""
    signed = f"{_segment(header)}.{_segment(claims)}"
    return f"{signed}.{_segment(hmac.digest(JWT_SECRET_KEY.encode(), signed.encode(), hashlib.sha256))}"


GOOD = _signed(b'{"alg": "HS256"}', b'{"user_id": "42", "exp": 8589934592}')


@given(st.text() | st.text(alphabet="eyJ.-_=A0", max_size=60))
def test_any_text_is_refused(verifier: TokenVerifier, token: str) -> None:
    assert _outcome(verifier, token) is None


@given(st.lists(st.binary(max_size=40), min_size=3, max_size=3))
def test_any_three_parts_are_refused(verifier: TokenVerifier, parts: list[bytes]) -> None:
    assert _outcome(verifier, ".".join(map(_segment, parts))) is None


@given(HEADERS, CLAIMS)
def test_any_claims_rightly_signed_name_a_user_or_are_refused(
    verifier: TokenVerifier, header: dict[str, Any], claims: dict[str, Any]
) -> None:
    bearer = _outcome(verifier, _signed(json.dumps(header).encode(), json.dumps(claims).encode()))

    if bearer is not None:
        assert header["alg"] == "HS256", "no other is pinned"
        assert "crit" not in header
        assert claims.get("iss") != "shop", "the secret opens no tenant"
        assert bearer.tenant_id != TENANT_ID
        assert bearer.user_id is not None or claims["push_anonymous"] is True


@given(st.binary(max_size=60))
def test_any_bytes_rightly_signed_are_refused(verifier: TokenVerifier, claims: bytes) -> None:
    assert _outcome(verifier, _signed(b'{"alg": "HS256"}', claims)) is None


@given(st.integers(0, len(GOOD.rpartition(".")[0]) - 1), st.characters())
def test_a_good_token_with_a_character_changed_is_refused(
    verifier: TokenVerifier, place: int, character: str
) -> None:
    changed = GOOD[:place] + character + GOOD[place + 1 :]

    assert (_outcome(verifier, changed) is None) == (changed != GOOD)
