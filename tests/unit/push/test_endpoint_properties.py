"""Whatever endpoint passes the policy: both senders see the same allowed host in it, and ask for the same there."""

from urllib.parse import urlsplit

from hypothesis import example, given
from hypothesis import strategies as st

from app.push.address import is_public
from app.push.endpoint import (
    MAX_ENDPOINT_CHARACTERS,
    CheckedEndpoint,
    EndpointNotAllowed,
    EndpointPolicy,
    RepeatedCheck,
    audience_of,
)
from tests.support.hostile_endpoints import EACH_HOSTILE_ENDPOINT
from tests.support.url_parsers import seen_by_curl, seen_by_requests

PRODUCTION = EndpointPolicy(extra_hosts=frozenset({"push.example.net"}))
DEVELOPMENT = EndpointPolicy(allow_loopback=True)
GOOD = (
    "https://fcm.googleapis.com/fcm/send/dQw4:APA91b-_x",
    "https://updates.push.services.mozilla.com/wpush/v2/gAAAA",
    "https://web.push.apple.com/QGxyz",
    "https://wns2-ln2p.notify.windows.com/w/?token=BQYAAA%2bb%3d",
    "https://push.example.net/s/1",
)
_PIECES = (
    *":/\\@#?[].;-_xıｆ。'(!$&+*,~|{^`<\"\t \x00\u212a",
    *("https", "http", "//", "..", "xn--", "%2e", "%2F", "%40", "%00", "%41", "%5c", "%5B", "\r\n"),
    *("443", ":443", ":0443", ":80"),
    *("fcm.googleapis.com", "web.push.apple.com", ".push.apple.com", ".notify.windows.com", "push.example.net"),
    *("evil.example", "127.0.0.1", "127.1", "0x7f.1", "2130706433", "::1", "::ffff:127.0.0.1", "localhost"),
)
_PIECED = st.lists(st.sampled_from(_PIECES) | st.text(max_size=2), max_size=12).map("".join)
_KNOWN = st.sampled_from((*GOOD, *EACH_HOSTILE_ENDPOINT))


@st.composite
def _changed(draw: st.DrawFn) -> str:
    """Draw an endpoint, good or hostile, into which something was put somewhere."""
    endpoint = draw(_KNOWN)
    at = draw(st.integers(0, min(len(endpoint), 60)))
    until = draw(st.integers(at, min(at + 3, len(endpoint))))
    return endpoint[:at] + draw(_PIECED) + endpoint[until:]


ENDPOINTS = (
    _PIECED
    | _PIECED.map("https://{}".format)
    | _PIECED.map("https://fcm.googleapis.com{}".format)
    | _PIECED.map("https://web.push.apple.com/{}".format)
    | _changed()
)


@given(ENDPOINTS)
@example("https://web.push.apple.com/x")
@example("https://fcm.googleapis.com/\\@evil.example")
@example("https://wns2-ln2p.notify.windows.com?token=%41%2d;a=b?c/../d")
def test_whatever_passes_leads_every_parser_to_the_same_allowed_place(endpoint: str) -> None:
    checked = _passed(PRODUCTION, endpoint)
    if checked is None:
        return

    assert checked.host in {"fcm.googleapis.com", "updates.push.services.mozilla.com", "push.example.net"} or (
        checked.host.endswith((".push.apple.com", ".notify.windows.com"))
    )
    assert urlsplit(checked.endpoint).hostname == checked.host
    assert checked.port == 443
    _assert_that_both_senders_agree(PRODUCTION, checked)


@given(_PIECED.map("http://{}".format) | _PIECED.map("https://127.0.0.1:9{}".format))
@example("http://[::1]:8/x")
def test_whatever_passes_in_development_leads_to_an_allowed_host_or_to_loopback(endpoint: str) -> None:
    checked = _passed(DEVELOPMENT, endpoint)
    if checked is None:
        return

    assert PRODUCTION.check(endpoint) == checked if checked.host.endswith(".com") else not is_public(checked.host)
    _assert_that_both_senders_agree(DEVELOPMENT, checked)


@given(ENDPOINTS)
def test_what_passes_is_canonical_and_short_and_its_audience_is_its_origin(endpoint: str) -> None:
    checked = _passed(PRODUCTION, endpoint)
    if checked is None:
        return

    assert PRODUCTION.check(checked.endpoint) == checked
    assert PRODUCTION.check(checked.identity).identity == checked.identity
    assert checked.origin == audience_of(checked.endpoint) == f"https://{checked.host}"
    assert len(checked.endpoint) <= MAX_ENDPOINT_CHARACTERS + 1  # a slash for a path
    assert checked.endpoint.isascii()
    assert checked.endpoint.isprintable()


@given(st.lists(ENDPOINTS | st.sampled_from(GOOD), max_size=6))
def test_a_check_that_remembers_says_what_the_policy_says(endpoints: list[str]) -> None:
    check = RepeatedCheck(PRODUCTION)

    for endpoint in endpoints:
        assert _passed(check, endpoint) == _passed(PRODUCTION, endpoint)


@given(ENDPOINTS)
def test_a_refusal_can_be_shown(endpoint: str) -> None:
    refusal = "It was allowed."
    try:
        PRODUCTION.check(endpoint)
    except EndpointNotAllowed as error:
        refusal = str(error)

    assert len(refusal) < 250
    assert refusal.isprintable()
    assert refusal.endswith(".")


def _passed(policy: EndpointPolicy | RepeatedCheck, endpoint: str) -> CheckedEndpoint | None:
    try:
        return policy.check(endpoint)
    except EndpointNotAllowed:
        return None


def _assert_that_both_senders_agree(policy: EndpointPolicy, checked: CheckedEndpoint) -> None:
    by_curl, by_requests = seen_by_curl(checked.endpoint), seen_by_requests(checked.endpoint)

    assert (by_curl.host, by_curl.port) == (by_requests.host, by_requests.port) == (checked.host, checked.port)
    for seen in (by_curl, by_requests):
        assert policy.check(checked.origin + seen.target).identity == checked.identity
