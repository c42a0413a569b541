import pytest

from app.push.endpoint import (
    MAX_ENDPOINT_CHARACTERS,
    EndpointNotAllowed,
    EndpointPolicy,
    PushServiceKind,
    audience_of,
    service_at,
)

STRICT = EndpointPolicy(extra_hosts=frozenset({"push.example.net"}))
DEVELOPMENT = EndpointPolicy(allow_loopback=True)


@pytest.mark.parametrize(
    ("endpoint", "service"),
    [
        ("https://fcm.googleapis.com/fcm/send/dQw4:APA91b-_x", PushServiceKind.FCM),
        ("https://jmt17.google.com/fcm/send/abc", PushServiceKind.FCM),
        ("https://updates.push.services.mozilla.com/wpush/v2/gAAAA", PushServiceKind.MOZILLA),
        ("https://web.push.apple.com/QGxyz", PushServiceKind.APPLE),
        ("https://wns2-ln2p.notify.windows.com/w/?token=BQYAAA%2bb%3d", PushServiceKind.WNS),
        ("https://push.example.net/s/1", PushServiceKind.OTHER),
    ],
)
def test_the_endpoints_of_known_push_services_pass_unchanged(endpoint: str, service: PushServiceKind) -> None:
    checked = STRICT.check(endpoint)

    assert checked.endpoint == endpoint
    assert checked.service is service
    assert checked.port == 443
    assert checked.origin == endpoint[: endpoint.index("/", 8)]
    assert service_at(checked.host) is service


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "fcm.googleapis.com/x",
        "//fcm.googleapis.com/x",
        "https:",
        "https:/fcm.googleapis.com/x",
        "https:///fcm.googleapis.com/x",
        "ftp://fcm.googleapis.com/x",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://fcm.googleapis.com/x",
        "https://fcm.googleapis.com:8443/x",
        "https://fcm.googleapis.com:80/x",
        "https://fcm.googleapis.com:0/x",
        "https://fcm.googleapis.com:99999/x",
        "https://fcm.googleapis.com:44３/x",
        "https://fcm.googleapis.com:/x",
        "https://fcm.googleapis.com:443:443/x",
        "https://user@fcm.googleapis.com/x",
        "https://user:password@fcm.googleapis.com/x",
        "https://@fcm.googleapis.com/x",
        "https://fcm.googleapis.com@evil.example/x",
        "https://fcm.googleapis.com%40evil.example/x",
        "https://fcm.googleapis.com%2f@evil.example/x",
        "https://fcm.googleapis.com#@evil.example/x",
        "https://fcm.googleapis.com/x#fragment",
        "https://fcm.googleapis.com/x#",
        "https://evil.example\\@fcm.googleapis.com/x",
        "https://fcm.googleapis.com\\.evil.example/x",
        "https://evil.example/https://fcm.googleapis.com/x",
        "https://evil.example?fcm.googleapis.com/x",
        "https://fcm.googleapis.com.evil.example/x",
        "https://evilfcm.googleapis.com/x",
        "https://sub.fcm.googleapis.com/x",
        "https://googleapis.com/x",
        "https://fcm.googleapis.com./x",
        "https://.fcm.googleapis.com/x",
        "https://push.apple.com/x",
        "https://.push.apple.com/x",
        "https://a..push.apple.com/x",
        "https://web.push.apple.com./x",
        "https://evilpush.apple.com/x",
        "https://web.push.apple.com.evil.example/x",
        "https://a_b.push.apple.com/x",
        "https://%61.push.apple.com/x",
        f"https://{'a' * 64}.push.apple.com/x",
        f"https://{'a.' * 130}push.apple.com/x",
        "https://notify.windows.com/x",
        "https://xnotify.windows.com/x",
        "https://sub.push.example.net/x",
        "https://xn--fcm-abc.googleapis.com/x",
        "https://ｆcm.googleapis.com/x",
        "https://fcm。googleapis.com/x",
        "https://[fcm.googleapis.com]/x",
        "https://[::1]/x",
        "https://[::1%25lo]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://[v1.a]/x",
        "https://[::1/x",
        "https://127.0.0.1/x",
        "https://localhost/x",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/x",
        "https://2130706433/x",
        "https://0x7f000001/x",
        "https://0177.0.0.1/x",
        " https://fcm.googleapis.com/x",
        "https://fcm.googleapis.com/x ",
        "https://fcm.googleapis.com/a b",
        "ht\ntps://fcm.googleapis.com/x",
        "https://fcm.goo\tgleapis.com/x",
        "https://fcm.googleapis.com\n.evil.example/x",
        "https://fcm.googleapis.com/x\r\nX-Injected: 1",
        "https://fcm.googleapis.com/\x00",
        "https://fcm.googleapis.com/\x7f",
        "https://fcm.googleapis.com/é",
        "https://fcm.googleapis.com/<x>",
        "https://fcm.googleapis.com/" + "x" * MAX_ENDPOINT_CHARACTERS,
        "https://fcm.googleapis.com//fcm/send/x",
        "https://fcm.googleapis.com/fcm/./send/x",
        "https://fcm.googleapis.com/fcm/send/x/../y",
        "https://fcm.googleapis.com/fcm/%2E/send/x",
        "https://fcm.googleapis.com/fcm/.%2e/send/x",
        "https://fcm.googleapis.com/fcm/send/..",
        "https://fcm.googleapis.com/fcm/send/x%",
        "https://fcm.googleapis.com/fcm/send/x%2",
        "https://fcm.googleapis.com/fcm/send/x%+1",
        "https://fcm.googleapis.com/fcm/send/x?token=%zz",
    ],
)
def test_every_other_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(EndpointNotAllowed):
        STRICT.check(endpoint)


@pytest.mark.parametrize(
    "endpoint",
    [
        "HTTPS://FCM.GoogleAPIs.com/fcm/send/AbC",
        "https://fcm.googleapis.com:443/fcm/send/AbC",
        "https://fcm.googleapis.com:0443/fcm/send/AbC",
    ],
)
def test_spellings_of_one_endpoint_become_one(endpoint: str) -> None:
    checked = STRICT.check(endpoint)

    assert checked.endpoint == "https://fcm.googleapis.com/fcm/send/AbC"
    assert checked.origin == "https://fcm.googleapis.com"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://fcm.googleapis.com/fcm/send/AbC", "https://fcm.googleapis.com/fcm/send/%41bC"),
        ("https://fcm.googleapis.com/fcm/send/a-_.~", "https://fcm.googleapis.com/fcm/send/a%2d%5F%2E%7e"),
        ("https://fcm.googleapis.com/fcm/send/AbC", "https://FCM.googleapis.com:443/fcm/send/AbC?"),
        ("https://web.push.apple.com", "https://web.push.apple.com/"),
        ("https://a.notify.windows.com/w/?token=A%2bB", "https://a.notify.windows.com/w/?token=%41%2BB"),
    ],
)
def test_spellings_of_one_resource_have_one_identity_and_are_posted_to_as_given(one: str, other: str) -> None:
    checked = STRICT.check(other)

    assert checked.identity == STRICT.check(one).identity
    assert checked.endpoint.endswith(other.rpartition("com")[2].removeprefix(":443"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://fcm.googleapis.com/fcm/send/AbC", "https://fcm.googleapis.com/fcm/send/abc"),
        ("https://fcm.googleapis.com/fcm/send/a/b", "https://fcm.googleapis.com/fcm/send/a%2Fb"),
        ("https://fcm.googleapis.com/fcm/send/a", "https://fcm.googleapis.com/fcm/send/a/"),
        ("https://fcm.googleapis.com/fcm/send/a", "https://jmt17.google.com/fcm/send/a"),
        ("https://a.notify.windows.com/w/?token=A", "https://a.notify.windows.com/w/?token=B"),
    ],
)
def test_different_resources_have_different_identities(one: str, other: str) -> None:
    assert STRICT.check(one).identity != STRICT.check(other).identity


def test_an_endpoint_as_long_as_is_allowed_passes() -> None:
    stem = "https://fcm.googleapis.com/"

    checked = STRICT.check(stem + "x" * (MAX_ENDPOINT_CHARACTERS - len(stem)))

    assert len(checked.endpoint) == MAX_ENDPOINT_CHARACTERS


@pytest.mark.parametrize(
    ("endpoint", "origin", "host", "port"),
    [
        ("http://127.0.0.1:8090/push/1", "http://127.0.0.1:8090", "127.0.0.1", 8090),
        ("https://127.8.9.1:1/push/1", "https://127.8.9.1:1", "127.8.9.1", 1),
        ("https://localhost/push/1", "https://localhost", "localhost", 443),
        ("http://LocalHost/push/1", "http://localhost", "localhost", 80),
        ("https://[::1]:8443/push/1", "https://[::1]:8443", "::1", 8443),
    ],
)
def test_loopback_passes_when_development_allows_it(endpoint: str, origin: str, host: str, port: int) -> None:
    checked = DEVELOPMENT.check(endpoint)

    assert (checked.origin, checked.host, checked.port) == (origin, host, port)
    assert checked.service is PushServiceKind.OTHER


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://127.1/x",
        "http://2130706433/x",
        "http://0x7f.0.0.1/x",
        "http://0177.0.0.1/x",
        "http://127.0.0.1./x",
        "http://localhost./x",
        "http://localhost.evil.example/x",
        "http://127.0.0.1.evil.example/x",
        "http://[::ffff:127.0.0.1]/x",
        "http://[::1%251]/x",
        "http://[0:0:0:0:0:0:0:2]/x",
        "http://[127.0.0.1]/x",
        "http://[localhost]/x",
        "http://0.0.0.0/x",
        "http://10.0.0.1/x",
        "http://[fe80::1]/x",
        "http://fcm.googleapis.com/x",
        "http://user@127.0.0.1/x",
    ],
)
def test_what_only_looks_like_loopback_is_refused_in_development_too(endpoint: str) -> None:
    with pytest.raises(EndpointNotAllowed):
        DEVELOPMENT.check(endpoint)


def test_a_simulator_on_loopback_says_by_its_path_whom_it_plays() -> None:
    services = [DEVELOPMENT.check(f"https://127.0.0.1:9/{name}/token").service for name in ("wns", "apple", "x")]

    assert services == [PushServiceKind.WNS, PushServiceKind.APPLE, PushServiceKind.OTHER]


def test_a_refusal_names_the_host_and_says_what_to_do_without_the_endpoint() -> None:
    with pytest.raises(EndpointNotAllowed) as refusal:
        STRICT.check("https://push.example.org/secret-token")

    assert str(refusal.value) == "push.example.org is not a known push service. Ask the operator to add it."


def test_a_refusal_is_short_however_long_the_host_is() -> None:
    with pytest.raises(EndpointNotAllowed) as refusal:
        STRICT.check(f"https://{'a' * 1900}/secret-token")

    assert len(str(refusal.value)) < 200
    assert "secret-token" not in str(refusal.value)


def test_the_audience_is_scheme_and_host() -> None:
    assert audience_of("https://fcm.googleapis.com/fcm/send/x?y=1") == "https://fcm.googleapis.com"


def test_the_audience_keeps_a_port_that_is_not_the_default() -> None:
    assert audience_of("https://push.example.net:8443/x") == "https://push.example.net:8443"
    assert audience_of("https://push.example.net:443/x") == "https://push.example.net"
    assert audience_of("http://127.0.0.1:8090/x") == "http://127.0.0.1:8090"


def test_there_is_no_audience_without_https() -> None:
    with pytest.raises(EndpointNotAllowed):
        audience_of("http://fcm.googleapis.com/x")
