"""A simulator with checks="none": it counts what comes, as fast as it can, over either wire."""

import asyncio
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import h2.connection
import h2.events
import httpx
import pytest
from hpack import Encoder

from app.simulator import Authority, Simulator
from app.simulator.arrivals import Head
from app.simulator.sink_heads import Http2Heads
from tests.unit.simulator.raw_clients import GOAWAY, HEADERS, connect, frames_in, read_until, request_head
from tests.unit.simulator.sending import ApplicationServer

END_HEADERS, PADDED, PRIORITY = 4, 8, 32


@pytest.fixture
def sink(push_authority: Authority) -> Iterator[Simulator]:
    with Simulator.running(authority=push_authority, checks="none") as sink:
        yield sink


@pytest.fixture(params=[True, False], ids=["http2", "http1"])
def client(request: pytest.FixtureRequest, sink: Simulator, push_ca_file: Path) -> Iterator[httpx.Client]:
    with ApplicationServer(sink, push_ca_file, http2=request.param) as server:
        server.client.base_url = httpx.URL(sink.url)
        yield server.client


def test_everything_is_accepted_and_counted(sink: Simulator, client: httpx.Client) -> None:
    statuses = [
        client.post(path, content=b"x" * size).status_code
        for path, size in (("/fcm/anything", 300), ("/apple/anything", 0), ("/nowhere", 200_000))
    ]

    assert statuses == [201, 201, 201]
    assert (sink.counts.posts, sink.counts.accepted, sink.counts.body_bytes) == (3, 3, 200_300)
    assert sink.counts.connections == 1


@pytest.mark.parametrize("http2", [True, False], ids=["http2", "http1"])
def test_a_sink_can_count_by_endpoint_and_topic(
    push_authority: Authority, push_ca_file: Path, *, http2: bool
) -> None:
    began = time.time()
    with (
        Simulator.running(authority=push_authority, checks="endpoints") as sink,
        ApplicationServer(sink, push_ca_file, http2=http2) as sending,
        ApplicationServer(sink, push_ca_file, http2=False) as asking,
    ):
        sink.answers(503, times=1, service="apple")
        for path, topic, ttl in (
            ("fcm/a", "one", 60),
            ("fcm/a", "one", 50),
            ("fcm/a", "two", 9),
            ("apple/b", "two", 9),
        ):
            headers = {"topic": topic, "ttl": str(ttl), "authorization": "x" * 5000}
            sending.client.post(f"{sink.url}/{path}", content=b"x", headers=headers)
        chunked = {"topic": "one", "ttl": "7"}
        sending.client.post(f"{sink.url}/fcm/c", content=iter([b"x"]), headers=chunked)
        arrivals = asking.client.get(f"{sink.control_url}/arrivals").json()["arrivals"]
        [of_one, _chunked] = asking.client.get(f"{sink.control_url}/arrivals?topic=one").json()["arrivals"]

    assert {(each["path"], each["topic"]): (each["accepted"], each["posts"]) for each in arrivals} == {
        ("/fcm/a", "one"): (2, 2),
        ("/fcm/a", "two"): (1, 1),
        ("/apple/b", "two"): (0, 1),
        ("/fcm/c", "one"): (1, 1),
    }
    assert {each["host"] for each in arrivals} == {f"127.0.0.1:{sink.port}"}
    assert (of_one["shortest_ttl"], of_one["longest_ttl"]) == (50, 60)
    assert began <= of_one["last_accepted_at"] <= time.time()


def test_a_head_may_come_in_several_frames_padded_and_with_a_priority() -> None:
    block = Encoder().encode([(":path", "/fcm/a"), (":authority", "push.example"), ("topic", "one"), ("ttl", "60")])
    heads = Http2Heads()

    first = heads.begin(PADDED | PRIORITY, b"\x02" + bytes(5) + block[:7] + bytes(2))
    last = heads.go_on(END_HEADERS, block[7:])

    assert first is None
    assert last == Head("/fcm/a", "push.example", "one", "60")


@pytest.mark.parametrize("huffman", [True, False])
def test_heads_are_read_whatever_the_sender_makes_of_its_header_table(*, huffman: bool) -> None:
    encoder, heads = Encoder(), Http2Heads()
    read = []

    for number in range(200):
        encoder.header_table_size = 4096 if number % 50 else 200 + number
        fields = [(":path", f"/fcm/{number}"), (":authority", "push.example"), ("authorization", "x" * 300)]
        fields += [("topic", f"t{number % 7}"), ("ttl", "60"), ("x-of-its-own", "y" * number)]
        read.append(heads.begin(END_HEADERS, encoder.encode(fields, huffman=huffman)))

    assert read == [Head(f"/fcm/{number}", "push.example", f"t{number % 7}", "60") for number in range(200)]


def test_more_than_a_window_can_be_sent(sink: Simulator, client: httpx.Client) -> None:
    for _ in range(3):
        client.post("/fcm/anything", content=b"x" * 4_000_000)

    assert sink.counts.body_bytes == 12_000_000


def test_faults_that_concern_everybody_hold(sink: Simulator, client: httpx.Client) -> None:
    sink.answers(429, retry_after=7, body='{"reason": "TooMany"}', headers={"x-long": "y" * 300}, times=1)
    sink.answers(503, service="fcm")

    slowed, usual = client.post("/fcm/anything"), client.post("/fcm/anything")

    assert (slowed.status_code, slowed.headers["retry-after"]) == (429, "7")
    assert slowed.json() == {"reason": "TooMany"}
    assert slowed.headers["x-long"] == "y" * 300
    assert usual.status_code == 201
    assert (sink.counts.faults, sink.counts.accepted) == (1, 1)


def test_answers_are_delayed(sink: Simulator, client: httpx.Client) -> None:
    sink.delays(0.05)

    began = time.monotonic()
    statuses = [client.post("/fcm/anything").status_code for _ in range(2)]

    assert statuses == [201, 201]
    assert time.monotonic() - began > 0.08


def test_a_sink_can_hang(sink: Simulator, client: httpx.Client) -> None:
    sink.hangs()

    with pytest.raises(httpx.ReadTimeout):
        client.post("/fcm/anything", timeout=httpx.Timeout(60, read=0.05))


@pytest.mark.parametrize("fault", ["drops_connection", "resets_connection", "garbage"])
def test_a_sink_can_end_a_connection_badly(sink: Simulator, client: httpx.Client, fault: str) -> None:
    getattr(sink, fault)(times=1)

    with pytest.raises(httpx.TransportError):
        client.post("/fcm/anything")

    assert client.post("/fcm/anything").status_code == 201
    assert sink.counts.connections == 2


@pytest.mark.parametrize(("fault", "at_least"), [("endless_body", 40_000), ("slow_body", 3)])
def test_a_sink_can_answer_with_a_body_that_does_not_end(
    sink: Simulator, client: httpx.Client, fault: str, at_least: int
) -> None:
    getattr(sink, fault)(status=503, times=1)
    size = 0

    with client.stream("POST", "/fcm/anything") as answer:
        for chunk in answer.iter_raw():
            size += len(chunk)
            if size >= at_least:
                break
    afterwards = client.post("/fcm/anything")

    assert (answer.status_code, afterwards.status_code) == (503, 201)
    assert sink.counts.statuses == {503: 1, 201: 1}


def test_what_a_sender_may_not_have_heard_of_is_counted(push_authority: Authority, push_ca_file: Path) -> None:
    with (
        Simulator.running(authority=push_authority, checks="endpoints") as sink,
        ApplicationServer(sink, push_ca_file, http2=True) as sending,
        ApplicationServer(sink, push_ca_file, http2=False) as asking,
    ):
        sending.client.post(f"{sink.url}/fcm/answered")
        sink.resets_connection(delivers=True)
        with pytest.raises(httpx.TransportError):
            sending.client.post(f"{sink.url}/fcm/cut")
        sink.script.clear()
        sending.client.post(f"{sink.url}/fcm/later")
        arrivals = asking.client.get(f"{sink.control_url}/arrivals").json()["arrivals"]

    # That the first answer came, a sink that cuts the connection cannot know.
    assert {each["path"]: (each["accepted"], each["untold"]) for each in arrivals} == {
        "/fcm/answered": (1, 1),
        "/fcm/cut": (1, 1),
        "/fcm/later": (1, 0),
    }


def test_http1_connections_are_told_to_go_away(sink: Simulator, push_ca_file: Path) -> None:
    sink.sends_goaway(every=2)
    with ApplicationServer(sink, push_ca_file, http2=False) as server:
        statuses = [server.client.post(f"{sink.url}/fcm/anything").status_code for _ in range(5)]

    assert statuses == [201] * 5
    assert sink.counts.connections == 3


def test_http2_connections_are_told_to_go_away(sink: Simulator, push_ca_file: Path) -> None:
    sink.sends_goaway(every=2)
    client = h2.connection.H2Connection()
    client.initiate_connection()
    for stream_id in (1, 3, 5):
        head = [(":method", "POST"), (":path", "/"), (":scheme", "https"), (":authority", "x")]
        client.send_headers(stream_id, head, end_stream=True)
    answer = b""

    with connect(sink, push_ca_file, "h2") as connection:
        connection.sendall(client.data_to_send())
        while chunk := connection.recv(65_536):
            answer += chunk

    frames = frames_in(answer)
    assert [int.from_bytes(payload[:4], "big") for kind, _, payload in frames if kind == GOAWAY] == [3]
    assert [stream for kind, stream, _ in frames if kind == HEADERS] == [1, 3]
    assert sink.counts.posts == 2


def test_bytes_may_arrive_one_by_one(sink: Simulator, push_ca_file: Path) -> None:
    request = request_head("/fcm/anything", {"content-length": "5"}) + b"hello"
    with connect(sink, push_ca_file, "http/1.1") as connection:
        for position in range(len(request)):
            connection.sendall(request[position : position + 1])
        answer = read_until(connection, 1, b"\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 201 Created\r\n")


def test_http2_frames_may_arrive_in_pieces(sink: Simulator, push_ca_file: Path) -> None:
    client = h2.connection.H2Connection()
    client.initiate_connection()
    head = [(":method", "POST"), (":path", "/"), (":scheme", "https"), (":authority", "x")]
    client.send_headers(1, head)
    client.send_data(1, b"hello", end_stream=True)
    client.ping(b"12345678")
    outgoing = client.data_to_send()
    seen: set[type[h2.events.Event]] = set()

    with connect(sink, push_ca_file, "h2") as connection:
        for position in range(0, len(outgoing), 7):
            connection.sendall(outgoing[position : position + 7])
        while not {h2.events.StreamEnded, h2.events.PingAckReceived, h2.events.SettingsAcknowledged} <= seen:
            seen |= {type(event) for event in client.receive_data(connection.recv(65_536))}

    assert sink.counts.body_bytes == 5


def test_the_control_api_and_chunked_bodies_are_understood_over_http1(sink: Simulator, push_ca_file: Path) -> None:
    with ApplicationServer(sink, push_ca_file, http2=False) as server:
        post = server.client.post(f"{sink.url}/fcm/anything", content=iter([b"a", b"bc"]))
        counts = server.client.get(f"{sink.control_url}/counts").json()

    assert post.status_code == 201
    assert (counts["posts"], counts["body_bytes"]) == (1, 3)


def test_many_streams_share_a_connection(sink: Simulator, push_ca_file: Path) -> None:
    async def post_all() -> set[int]:
        context = ssl.create_default_context(cafile=str(push_ca_file))
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(
            http2=True, verify=context, trust_env=False, limits=limits, timeout=60
        ) as client:
            answers = await asyncio.gather(*(client.post(f"{sink.url}/fcm/{n}", content=b"x") for n in range(150)))
            return {answer.status_code for answer in answers}

    assert asyncio.run(post_all()) == {201}
    assert (sink.counts.posts, sink.counts.connections) == (150, 1)
