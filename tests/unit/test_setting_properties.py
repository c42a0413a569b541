"""Whatever is written into a setting: it is refused in words that do not repeat it, or it can be used."""

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from limits import parse as parse_rate
from pydantic import TypeAdapter, ValidationError

from app.push.endpoint import EndpointPolicy
from app.setting_types import HostNames, Networks, Rate

RATES: TypeAdapter[str] = TypeAdapter(Rate)
NETWORKS: TypeAdapter[tuple[Any, ...]] = TypeAdapter(Networks)
HOSTS: TypeAdapter[tuple[str, ...]] = TypeAdapter(HostNames)

# Word for word: a value may hold a password.
REFUSALS = {
    f"Value error, {words}"
    for words in (
        "must look like 100/hour, 10/minute or 5/second",
        "must let something through, like 100/hour",
        "must be IP addresses or networks like 10.0.0.0/8",
        "must be bare host names like push.example.net, without https://, port or *",
        "must be names like push.example.net, not addresses",
        "is for push services with public addresses; for one on loopback see PUSH_ALLOW_LOOPBACK",
    )
}

NUMBERS = st.integers(-5, 10**6).map(str) | st.text("0123456789.e-+ ", max_size=6)
UNITS = st.sampled_from(["second", "minutes", "hour", "Day", "year", "fortnight", "", " "])
RATE_TEXTS = st.text(max_size=30) | st.builds("{}{}{}".format, NUMBERS, st.sampled_from(["/", " per ", ""]), UNITS)
ADDRESSES = st.ip_addresses().map(str) | st.text("0123456789abcdef.:%", max_size=20)
NETWORK_TEXTS = st.lists(
    st.text(max_size=10) | ADDRESSES | st.builds("{}/{}".format, ADDRESSES, st.integers(-1, 130)), max_size=4
).map(",".join)
LABELS = st.text("abz019-_*%", max_size=6) | st.sampled_from(["push", "example", "net", "127", "0x7f", "localhost"])
HOST_TEXTS = st.text(max_size=30) | st.lists(LABELS, max_size=4).map(".".join)


@given(RATE_TEXTS)
def test_whatever_is_taken_for_a_rate_lets_something_through(text: str) -> None:
    rate = _taken(RATES, text)
    if rate is None:
        return

    limit = parse_rate(rate)
    assert limit.amount >= 1
    assert limit.get_expiry() >= 1


@given(NETWORK_TEXTS)
def test_whatever_is_taken_for_networks_is_as_many_as_were_written(text: str) -> None:
    networks = _taken(NETWORKS, text)
    if networks is None:
        return

    assert len(networks) == len([part for part in text.split(",") if part.strip()])
    assert all(network.num_addresses >= 1 for network in networks)


@given(HOST_TEXTS)
@example("push.example.net,10.0.0.5")
def test_whatever_is_taken_for_a_push_service_of_ones_own_can_be_an_endpoints_host(text: str) -> None:
    hosts = _taken(HOSTS, text)
    if not hosts:
        return

    policy = EndpointPolicy(extra_hosts=frozenset(hosts))
    assert [policy.check(f"https://{host}/x").host for host in hosts] == list(hosts)


def _taken(setting: TypeAdapter[Any], text: str) -> Any:
    """Return what a setting makes of a text; None when it refuses it, in words of its own."""
    try:
        return setting.validate_python(text)
    except ValidationError as error:
        refusal = error.errors(include_input=False, include_url=False)[0]["msg"]
    assert refusal in REFUSALS
    return None
