"""The ownership table, cell by cell."""

import pytest

from app.models import DEFAULT_TENANT_ID
from app.subscriptions.ownership import Claim, Holding, Requester, claim_to, may_manage
from tests.support.browser_keys import browser_keys

STORED = browser_keys(1)
OTHER = browser_keys(2)

USER_A = Requester(DEFAULT_TENANT_ID, user_id="a")
USER_B = Requester(DEFAULT_TENANT_ID, user_id="b")
ANONYMOUS = Requester(DEFAULT_TENANT_ID)
SERVICE = Requester(DEFAULT_TENANT_ID, is_service=True)


def stored(user_id: str | None) -> Holding:
    return Holding(user_id, STORED.p256dh, STORED.auth)


def showing(requester: Requester, auth: str) -> Requester:
    return Requester(requester.tenant_id, requester.user_id, requester.is_service, auth)


@pytest.mark.parametrize(
    ("owner", "requester", "with_same_keys", "showing_the_secret", "with_other_keys"),
    [
        pytest.param("a", USER_A, Claim.UPDATE, Claim.UPDATE, Claim.UPDATE, id="a's own"),
        pytest.param("a", USER_B, Claim.HAND_OVER, Claim.REFUSE, Claim.REFUSE, id="b takes a's"),
        pytest.param("a", ANONYMOUS, Claim.HAND_OVER, Claim.REFUSE, Claim.REFUSE, id="nobody takes a's"),
        pytest.param("a", SERVICE, Claim.UPDATE, Claim.UPDATE, Claim.UPDATE, id="a service updates a's"),
        pytest.param(None, USER_B, Claim.UPDATE, Claim.UPDATE, Claim.REFUSE, id="b signed in"),
        pytest.param(None, ANONYMOUS, Claim.UPDATE, Claim.UPDATE, Claim.REFUSE, id="nobody's, by nobody"),
        pytest.param(None, SERVICE, Claim.UPDATE, Claim.UPDATE, Claim.UPDATE, id="nobody's, by a service"),
    ],
)
def test_who_may_do_what_with_a_stored_endpoint(
    owner: str | None,
    requester: Requester,
    with_same_keys: Claim,
    showing_the_secret: Claim,
    with_other_keys: Claim,
) -> None:
    holding = stored(owner)

    claims = {
        "same keys": claim_to(holding, requester, p256dh=STORED.p256dh, auth=STORED.auth),
        "secret in the body": claim_to(holding, requester, p256dh=OTHER.p256dh, auth=STORED.auth),
        "secret in the header": claim_to(
            holding, showing(requester, STORED.auth), p256dh=OTHER.p256dh, auth=OTHER.auth
        ),
        "other keys": claim_to(holding, requester, p256dh=OTHER.p256dh, auth=OTHER.auth),
    }

    assert claims == {
        "same keys": with_same_keys,
        "secret in the body": showing_the_secret,
        "secret in the header": showing_the_secret,
        "other keys": with_other_keys,
    }


@pytest.mark.parametrize("requester", [USER_B, ANONYMOUS])
def test_the_public_key_alone_proves_nothing(requester: Requester) -> None:
    for owner in ("a", None):
        claim = claim_to(stored(owner), requester, p256dh=STORED.p256dh, auth=OTHER.auth)

        assert claim is Claim.REFUSE


@pytest.mark.parametrize(
    ("owner", "requester", "is_allowed"),
    [
        ("a", USER_A, True),
        ("a", USER_B, False),
        ("a", ANONYMOUS, False),
        ("a", SERVICE, True),
        ("a", showing(USER_B, STORED.auth), False),
        ("a", showing(ANONYMOUS, STORED.auth), False),
        (None, USER_A, False),
        (None, ANONYMOUS, False),
        (None, SERVICE, True),
        (None, showing(USER_A, STORED.auth), True),
        (None, showing(ANONYMOUS, STORED.auth), True),
        (None, showing(ANONYMOUS, OTHER.auth), False),
    ],
)
def test_who_may_manage_a_subscription(owner: str | None, requester: Requester, is_allowed: bool) -> None:
    assert may_manage(stored(owner), requester) is is_allowed


@pytest.mark.parametrize("shown", ["", "=", "é" * 16, "\ud800", "x" * 10_000, STORED.auth[:-1]])
def test_a_malformed_secret_is_a_wrong_one(shown: str) -> None:
    assert not may_manage(stored(None), showing(ANONYMOUS, shown))


def test_a_secret_is_recognised_with_padding() -> None:
    assert may_manage(stored(None), showing(ANONYMOUS, STORED.auth + "=="))
