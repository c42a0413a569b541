import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.push.endpoint import (
    MAX_ENDPOINT_CHARACTERS,
    CheckedEndpoint,
    EndpointNotAllowed,
    EndpointPolicy,
    RepeatedCheck,
)

POLICIES = [EndpointPolicy(), EndpointPolicy(frozenset({"push.example.net"}), allow_loopback=True)]
SEEN = [
    "https://fcm.googleapis.com/fcm/send/abc:APA91b",
    "https://updates.push.services.mozilla.com/wpush/v2/gAAAA",
    "https://web.push.apple.com/QGx",
    "https://wns2-ln2p.notify.windows.com/w/?token=x",
    "https://push.example.net/s/1",
    "https://127.0.0.1:8443/fcm/abc",
    "https://127.0.0.1:8443/wns",
    "http://localhost/apple/abc",
]
ENDINGS = [
    "",
    "/",
    "x",
    "/x",
    "//x",
    "/./x",
    "/../x",
    "/%2e%2E/",
    "/%41",
    "?a",
    "#a",
    "/x@y",
    ":1/x",
    "\\x",
    "é",
    " ",
]


def answer(check: EndpointPolicy | RepeatedCheck, endpoint: str) -> CheckedEndpoint | str:
    try:
        return check.check(endpoint)
    except EndpointNotAllowed as refusal:
        return str(refusal)


def primed(policy: EndpointPolicy) -> RepeatedCheck:
    repeated = RepeatedCheck(policy)
    for seen in SEEN:
        answer(repeated, seen)
    return repeated


@pytest.mark.parametrize("policy", POLICIES)
def test_what_begins_alike_gets_the_policys_own_answer(policy: EndpointPolicy) -> None:
    repeated = primed(policy)

    for seen in SEEN:
        for end in range(len("https:"), len(seen) + 1):
            for ending in ENDINGS:
                endpoint = seen[:end] + ending
                assert answer(repeated, endpoint) == answer(policy, endpoint), endpoint


@given(
    beginning=st.sampled_from([*SEEN, "https://web.push.apple.com", "HTTPS://FCM.googleapis.com/fcm", "https://"]),
    ending=st.text(alphabet=st.sampled_from("/aZ9-_~:.%2eF?#@[]\\ \t"), max_size=12),
    policy=st.sampled_from(POLICIES),
)
def test_no_ending_is_allowed_that_the_policy_refuses(beginning: str, ending: str, policy: EndpointPolicy) -> None:
    repeated = primed(policy)

    answers = [answer(repeated, beginning + ending) for _ in range(2)]

    assert answers == [answer(policy, beginning + ending)] * 2


def test_a_long_endpoint_is_refused_however_it_begins() -> None:
    repeated = primed(POLICIES[0])

    with pytest.raises(EndpointNotAllowed, match="longer"):
        repeated.check("https://fcm.googleapis.com/fcm/" + "x" * MAX_ENDPOINT_CHARACTERS)
