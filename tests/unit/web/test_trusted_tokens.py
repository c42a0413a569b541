"""What the settings say a token is verified with: its algorithm, keys, issuer and audience."""

from typing import Any

import pytest

from app.settings import SettingsError
from app.web.tokens import InvalidToken, TokenVerifier
from tests.support.api import SettingsFactory, make_token
from tests.support.signing import key_pair
from tests.unit.web.simplejwt_tokens import simplejwt_tokens

PREVIOUS_SECRET = "the-secret-before-0123456789-0123456789"
FOREIGN_SECRET = "somebody-elses-secret-0123456789-012345"


@pytest.mark.parametrize(("algorithm", "kind"), [("RS256", "RSA"), ("ES256", "P-256")])
def test_a_token_signed_with_a_private_key_is_verified_with_the_public_one(
    make_settings: SettingsFactory, algorithm: str, kind: str
) -> None:
    private, public = key_pair(kind)
    verifier = TokenVerifier(make_settings(jwt_algorithms=(algorithm,), jwt_public_key=public))

    assert verifier.user_of(make_token(user_id="42", secret=private, algorithm=algorithm)) == "42"
    with pytest.raises(InvalidToken):
        verifier.user_of(make_token(user_id="42"))


def test_a_public_key_in_one_line_is_understood(make_settings: SettingsFactory) -> None:
    private, public = key_pair("RSA")
    settings = make_settings(jwt_algorithms="RS256", jwt_public_key=public.strip().replace("\n", "\\n"))

    verifier = TokenVerifier(settings)

    assert verifier.user_of(make_token(user_id="42", secret=private, algorithm="RS256")) == "42"


def test_the_previous_secret_is_accepted_during_a_rotation(make_settings: SettingsFactory) -> None:
    verifier = TokenVerifier(make_settings(jwt_secret_key_previous=PREVIOUS_SECRET))

    assert verifier.user_of(make_token(user_id="42", secret=PREVIOUS_SECRET)) == "42"
    assert verifier.user_of(make_token(user_id="42")) == "42"
    with pytest.raises(InvalidToken, match="signature"):
        verifier.user_of(make_token(user_id="42", secret=FOREIGN_SECRET))


@pytest.mark.parametrize(
    ("claims", "complaint"),
    [
        ({"iss": "https://evil.example", "aud": "push"}, "issuer"),
        ({"aud": "push"}, "iss"),
        ({"iss": "https://blog.example"}, "aud"),
        ({"iss": "https://blog.example", "aud": "shop"}, "audience"),
        ({"iss": "https://blog.example", "aud": ["shop", "mail"]}, "audience"),
        ({"iss": ["https://blog.example"], "aud": "push"}, "refused"),
    ],
)
def test_issuer_and_audience_are_checked_when_set(
    make_settings: SettingsFactory, claims: dict[str, Any], complaint: str
) -> None:
    verifier = TokenVerifier(make_settings(jwt_issuer="https://blog.example", jwt_audience="push"))
    right: dict[str, Any] = {"iss": "https://blog.example", "aud": ["shop", "push"]}

    assert verifier.user_of(make_token(user_id="42", **right)) == "42"
    with pytest.raises(InvalidToken, match=complaint):
        verifier.user_of(make_token(user_id="42", **claims))


def test_simplejwts_tokens_with_issuer_audience_and_rsa_work(make_settings: SettingsFactory) -> None:
    private, public = key_pair("RSA")
    tokens = simplejwt_tokens(
        ALGORITHM="RS256",
        SIGNING_KEY=private,
        VERIFYING_KEY=public,
        ISSUER="https://blog.example",
        AUDIENCE="push",
        USER_ID_CLAIM="sub",
    )
    verifier = TokenVerifier(
        make_settings(
            jwt_algorithms="RS256", jwt_public_key=public, jwt_issuer="https://blog.example", jwt_audience="push"
        )
    )

    assert verifier.user_of(tokens["access"]) == "42"


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        ({"jwt_algorithms": "RS256"}, "JWT_PUBLIC_KEY"),
        ({"jwt_algorithms": "none"}, "JWT_ALGORITHMS"),
        ({"jwt_algorithms": "dir"}, "JWT_ALGORITHMS"),
        ({"jwt_algorithms": "A128KW"}, "JWT_ALGORITHMS"),
        ({"jwt_algorithms": "hs256"}, "JWT_ALGORITHMS"),
        ({"jwt_algorithms": ""}, "JWT_ALGORITHMS"),
        ({"jwt_algorithms": "RS256", "jwt_public_key": "nonsense"}, "JWT_PUBLIC_KEY"),
        ({"jwt_algorithms": "RS256", "jwt_public_key": key_pair("P-256")[1]}, "JWT_PUBLIC_KEY"),
        ({"jwt_algorithms": "ES256", "jwt_public_key": key_pair("RSA")[1]}, "JWT_PUBLIC_KEY"),
        ({"jwt_secret_key": key_pair("RSA")[1]}, "JWT_SECRET_KEY"),
    ],
)
def test_settings_that_could_verify_nothing_stop_the_start(
    make_settings: SettingsFactory, overrides: dict[str, Any], complaint: str
) -> None:
    settings = make_settings(**overrides)

    with pytest.raises(SettingsError, match=complaint) as refused:
        TokenVerifier(settings)

    assert "BEGIN" not in str(refused.value)
