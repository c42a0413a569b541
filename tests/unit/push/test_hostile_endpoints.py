"""What an attacker might subscribe with is refused before anybody looks a name up."""

import pytest

from app.push.endpoint import EndpointNotAllowed, EndpointPolicy, RepeatedCheck
from tests.support.hostile_endpoints import HOSTILE_ENDPOINTS

PRODUCTION = EndpointPolicy(extra_hosts=frozenset({"push.example.net"}))


@pytest.mark.parametrize("trick", HOSTILE_ENDPOINTS)
def test_no_trick_gets_past_the_policy(trick: str) -> None:
    passed = []
    for endpoint in HOSTILE_ENDPOINTS[trick]:
        with pytest.raises(EndpointNotAllowed):
            passed.append(PRODUCTION.check(endpoint).endpoint)

    assert passed == []


@pytest.mark.parametrize("trick", HOSTILE_ENDPOINTS)
def test_no_trick_gets_past_a_check_that_remembers_good_ones(trick: str) -> None:
    check = RepeatedCheck(PRODUCTION)
    for good in ("https://fcm.googleapis.com/x/y", "https://web.push.apple.com/x", "https://push.example.net/x/y"):
        check.check(good)

    for endpoint in HOSTILE_ENDPOINTS[trick]:
        with pytest.raises(EndpointNotAllowed):
            check.check(endpoint)
