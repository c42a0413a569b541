"""Every sender, and what an attacker hopes for: that we post to somewhere else than where the endpoint seems to be.

A trap is a listener that stands for our own network; nothing may ever come there.
"""

import base64
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.push import connection, curl_addresses, curl_transfer
from app.push.address import CheckedAddress, resolve
from app.push.outcome import Reason, Verdict
from app.push.sender import Sender
from app.simulator import Browser
from tests.integration.sender_contract.raw_server import OK, RawServer, answering, serving
from tests.integration.sender_contract.sending import MakeSender, message_to, outcome_of, outcomes_of
from tests.support.hostile_endpoints import EACH_HOSTILE_ENDPOINT
from tests.support.waiting import until
from tests.unit.push.builders import a_message

Build = Callable[..., Sender]

CHECKED = "127.0.0.3"
REDIRECTS = [300, 301, 302, 303, 305, 307, 308]
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@pytest.fixture
def trap() -> Iterator[RawServer]:
    with serving(answering(OK)) as server:
        yield server


def test_no_trick_is_posted_to_nor_looked_up(build: Build) -> None:
    looked_up: list[str] = []

    def resolve_host(host: str, port: int) -> Sequence[CheckedAddress]:
        looked_up.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    sender = build(allow_loopback=False, resolve_host=resolve_host)
    outcomes = outcomes_of(sender, [a_message(endpoint) for endpoint in EACH_HOSTILE_ENDPOINT])

    assert {(outcome.verdict, outcome.reason) for outcome in outcomes} == {
        (Verdict.REJECTED, Reason.ENDPOINT_NOT_ALLOWED)
    }
    assert looked_up == []


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:{port}/x", "//127.0.0.1:{port}/x", "http://localhost:{port}/", "https://localhost:{port}/"],
)
def test_nothing_arrives_where_a_redirect_leads(build: Build, trap: RawServer, location: str) -> None:
    where = location.format(port=trap.port)
    answers = [
        f"HTTP/1.1 {status} Elsewhere\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n".encode()
        for status in REDIRECTS
    ]
    sender = build()

    with serving(answering(*answers)) as server:
        outcomes = [outcome_of(sender, a_message(server.endpoint())) for _ in REDIRECTS]

        assert [outcome.status_code for outcome in outcomes] == REDIRECTS
        assert Verdict.ACCEPTED not in {outcome.verdict for outcome in outcomes}
        assert len(server.requests) == len(REDIRECTS)
        assert trap.connections == 0


def test_the_connection_goes_to_the_address_that_was_checked_wherever_the_name_leads_by_now(build: Build) -> None:
    with serving(answering(OK), host=CHECKED) as server, serving(answering(OK), port=server.port) as trap:
        sender = build(resolve_host=lambda host, port: [CheckedAddress(host, port, CHECKED)])

        # The system says that localhost is 127.0.0.1, where the trap is.
        outcome = outcome_of(sender, a_message(f"http://localhost:{server.port}/push/1"))

        assert outcome.verdict is Verdict.ACCEPTED
        assert len(server.requests) == 1
        assert trap.connections == 0


@pytest.mark.parametrize("answer", [["0.0.0.0"], ["::ffff:127.0.0.1"], [CHECKED, "0.0.0.0"], ["10.0.0.5"]])
def test_a_name_that_leads_inside_at_its_next_look_up_is_posted_to_no_more(
    build: Build, monkeypatch: pytest.MonkeyPatch, answer: list[str]
) -> None:
    monkeypatch.setattr(curl_addresses, "_REFRESHED_AFTER_SECONDS", 0.0)
    found = [CHECKED]

    def lookup(_host: str, port: int, **_wanted: Any) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    with serving(answering(OK), host=CHECKED) as server, serving(answering(OK), port=server.port) as trap:
        sender = build(resolve_host=partial(resolve, allow_loopback=True, lookup=lookup))
        message = a_message(f"http://localhost:{server.port}/push/1")
        before = outcome_of(sender, message)
        found[:] = answer
        # The curl sender looks up while it goes on with what it has checked.
        until(lambda: outcome_of(sender, message).verdict is not Verdict.ACCEPTED, "the new answer is known")
        after = outcome_of(sender, message)

        assert before.verdict is Verdict.ACCEPTED
        assert (after.verdict, after.reason) == (Verdict.RETRY, Reason.ADDRESS_NOT_PUBLIC)
        assert after.detail == "the name leads to a private address"
        assert trap.connections == 0


def test_a_kept_connection_lives_no_longer_than_what_was_found_is_believed(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curl_transfer, "ADDRESS_LIFE_SECONDS", 1.0)  # libcurl knows whole ones only
    monkeypatch.setattr(connection, "ADDRESS_LIFE_SECONDS", 0.05)
    sender = build()

    with serving(answering(*[OK] * 100_000)) as server:

        def is_on_a_second() -> bool:
            assert outcome_of(sender, a_message(server.endpoint())).verdict is Verdict.ACCEPTED
            return server.connections > 1

        until(is_on_a_second, "a new connection is made")


def test_a_proxy_of_the_environment_sees_nothing(
    make_sender: MakeSender, browser: Browser, trap: RawServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.setenv(name, f"http://127.0.0.1:{trap.port}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login user password pass\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    sender = make_sender()

    with serving(answering(OK)) as server:
        plain = outcome_of(sender, a_message(server.endpoint()))
        [head] = server.requests
    over_tls = outcome_of(sender, message_to(browser))

    assert [plain.verdict, over_tls.verdict] == [Verdict.ACCEPTED] * 2
    assert trap.connections == 0
    assert base64.b64encode(b"user:pass") not in head
    assert b"proxy" not in head.lower()
