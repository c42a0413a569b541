"""What the two wires make of clients that httpx is too polite to be."""

import asyncio
import ssl
from pathlib import Path

import h2.connection
import h2.events
import httpx
import pytest
from h2.config import H2Configuration
from h2.errors import ErrorCodes

from app.simulator import Authority, Simulator
from tests.unit.simulator.raw_clients import GOAWAY, HEADERS, connect, frames_in, read_until, request_head
from tests.unit.simulator.sending import ApplicationServer, encrypt


def test_pipelined_requests_are_answered_in_their_order(push_service: Simulator, push_ca_file: Path) -> None:
    with ApplicationServer(push_service, push_ca_file) as server:
        first, second = server.subscribe(), server.subscribe("apple")
        push_service.delays(0.02, browser=first)
        requests = b"".join(
            request_head(browser.path, server.headers_for(browser) | {"content-length": str(len(body))}) + body
            for browser, body in ((first, encrypt(first, b"one")), (second, encrypt(second, b"two")))
        )

    with connect(push_service, push_ca_file, "http/1.1") as connection:
        connection.sendall(requests)
        answers = read_until(connection, 2, b"\r\n\r\n")

    assert answers.index(b"location") < answers.index(b"apns-id")
    assert len(first.received) == len(second.received) == 1


def test_a_client_that_waits_for_100_continue_is_told_to_go_on(push_service: Simulator, push_ca_file: Path) -> None:
    with ApplicationServer(push_service, push_ca_file) as server:
        browser = server.subscribe()
        body = encrypt(browser, b"hello")
        headers = server.headers_for(browser) | {"content-length": str(len(body)), "expect": "100-continue"}

    with connect(push_service, push_ca_file, "http/1.1") as connection:
        connection.sendall(request_head(browser.path, headers))
        go_on = read_until(connection, 1, b"\r\n\r\n")
        connection.sendall(body)
        answer = read_until(connection, 1, b"\r\n\r\n")

    assert go_on.startswith(b"HTTP/1.1 100")
    assert answer.startswith(b"HTTP/1.1 201")


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
def test_a_client_that_speaks_no_http_is_shown_the_door(
    push_service: Simulator, push_ca_file: Path, protocol: str
) -> None:
    with connect(push_service, push_ca_file, protocol) as connection:
        connection.sendall(b"\x16\x03\x01 what?\r\n\r\n" * 10)
        while connection.recv(65_536):
            pass

    assert push_service.counts.posts == 0


def test_an_enormous_body_is_refused_and_not_kept(any_server: ApplicationServer) -> None:
    browser = any_server.subscribe()

    answer = any_server.post(browser, body=b"x" * 3_000_000)

    assert answer.status_code == 413
    assert any_server.simulator.counts.body_bytes == 65_536


def test_a_large_answer_waits_for_the_clients_windows(any_server: ApplicationServer) -> None:
    browser = any_server.subscribe()
    any_server.simulator.answers(500, body="x" * 1_000_000)

    assert len(any_server.post(browser).content) == 1_000_000


def test_a_hundred_streams_share_a_connection(push_service: Simulator, push_ca_file: Path) -> None:
    with ApplicationServer(push_service, push_ca_file) as server:
        browsers = [server.subscribe() for _ in range(120)]
        headers = server.headers_for(browsers[0])
        posts = [(browser.endpoint, encrypt(browser, b"hello")) for browser in browsers]

    async def post_all() -> list[int]:
        context = ssl.create_default_context(cafile=str(push_ca_file))
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(
            http2=True, http1=False, verify=context, trust_env=False, limits=limits, timeout=60
        ) as client:
            answers = await asyncio.gather(
                *(client.post(url, headers=headers, content=body) for url, body in posts)
            )
            return [answer.status_code for answer in answers]

    assert asyncio.run(post_all()) == [201] * 120
    assert push_service.counts.connections == 1
    assert all(len(browser.received) == 1 for browser in browsers)


def test_goaway_says_which_streams_were_taken(push_service: Simulator, push_ca_file: Path) -> None:
    push_service.sends_goaway(every=2)
    client = h2.connection.H2Connection()
    client.initiate_connection()
    head = [(":method", "POST"), (":path", "/fcm/nobody"), (":scheme", "https"), (":authority", "127.0.0.1")]
    for stream_id in (1, 3, 5, 7):
        client.send_headers(stream_id, head, end_stream=True)
    answer = b""

    with connect(push_service, push_ca_file, "h2") as connection:
        connection.sendall(client.data_to_send())
        # h2 ends a connection at GOAWAY and would refuse the answers that come after it.
        while chunk := connection.recv(65_536):
            answer += chunk

    frames = frames_in(answer)
    assert [int.from_bytes(payload[:4], "big") for kind, _, payload in frames if kind == GOAWAY] == [3]
    assert [stream for kind, stream, _ in frames if kind == HEADERS] == [1, 3]
    assert push_service.counts.posts == 2


def test_a_cut_connection_is_not_read_on(push_service: Simulator, push_ca_file: Path) -> None:
    push_service.drops_connection(times=1)
    client = h2.connection.H2Connection()
    client.initiate_connection()
    head = [(":method", "POST"), (":path", "/fcm/nobody"), (":scheme", "https"), (":authority", "127.0.0.1")]
    for stream_id in (1, 3):
        client.send_headers(stream_id, head, end_stream=True)

    with connect(push_service, push_ca_file, "h2") as connection:
        connection.sendall(client.data_to_send())
        assert is_cut(connection)

    assert push_service.counts.posts == 1


@pytest.mark.parametrize("header", [("TTL", "60"), ("connection", "close")])
def test_headers_that_http2_forbids_end_the_connection(
    push_service: Simulator, push_ca_file: Path, header: tuple[str, str]
) -> None:
    careless = H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
    client = h2.connection.H2Connection(careless)
    client.initiate_connection()
    head = [(":method", "POST"), (":path", "/fcm/nobody"), (":scheme", "https"), (":authority", "127.0.0.1")]
    client.send_headers(1, [*head, header], end_stream=True)

    with connect(push_service, push_ca_file, "h2") as connection:
        connection.sendall(client.data_to_send())
        assert is_cut(connection)

    assert push_service.counts.posts == 0


def test_the_allowed_number_of_streams_can_be_chosen(push_authority: Authority, push_ca_file: Path) -> None:
    with (
        Simulator.running(authority=push_authority, max_concurrent_streams=7) as simulator,
        connect(simulator, push_ca_file, "h2") as connection,
    ):
        client = h2.connection.H2Connection()
        client.initiate_connection()
        connection.sendall(client.data_to_send())
        while client.remote_settings.max_concurrent_streams != 7:
            client.receive_data(connection.recv(65_536))


def test_a_stream_too_many_is_refused_and_the_others_go_on(push_authority: Authority, push_ca_file: Path) -> None:
    client = h2.connection.H2Connection()
    client.initiate_connection()
    head = [(":method", "POST"), (":path", "/fcm/nobody"), (":scheme", "https"), (":authority", "127.0.0.1")]
    for stream_id in (1, 3, 5):
        client.send_headers(stream_id, head)
    for stream_id in (1, 3):
        client.end_stream(stream_id)

    with (
        Simulator.running(authority=push_authority, max_concurrent_streams=2) as simulator,
        connect(simulator, push_ca_file, "h2") as connection,
    ):
        connection.sendall(client.data_to_send())
        events: list[h2.events.Event] = []
        while sum(isinstance(event, h2.events.StreamEnded | h2.events.StreamReset) for event in events) < 3:
            events += client.receive_data(connection.recv(65_536))
        posts = simulator.counts.posts

    refused = [event for event in events if isinstance(event, h2.events.StreamReset)]
    assert [(event.stream_id, event.error_code) for event in refused] == [(5, ErrorCodes.REFUSED_STREAM)]
    answered = [event.stream_id for event in events if isinstance(event, h2.events.ResponseReceived)]
    assert answered == [1, 3]
    assert posts == 2


def test_plain_http_is_spoken_when_asked() -> None:
    with Simulator.running(tls=False) as simulator:
        browser = simulator.subscribe()
        answer = httpx.post(browser.endpoint, trust_env=False)

    assert browser.endpoint.startswith("http://127.0.0.1:")
    assert answer.status_code == 401


def test_a_port_that_is_taken_is_an_error_and_leaves_no_thread() -> None:
    with Simulator.running(tls=False) as simulator:
        second = Simulator(tls=False, port=simulator.port)

        with pytest.raises(OSError, match="in use"):
            second.start()


def test_stopping_cuts_those_who_wait(push_authority: Authority, push_ca_file: Path) -> None:
    with Simulator.running(authority=push_authority) as simulator:
        simulator.hangs()
        connection = connect(simulator, push_ca_file, "http/1.1")
        connection.sendall(request_head("/fcm/nobody", {"content-length": "0"}))
        simulator.wait_until(lambda counts: counts.posts == 1)

    with connection:
        assert is_cut(connection)


def is_cut(connection: ssl.SSLSocket) -> bool:
    """Read on until the connection ends; a connection that stays open ends in a TimeoutError."""
    try:
        while connection.recv(65_536):
            pass
    except (ConnectionError, ssl.SSLError):
        pass
    return True
