"""Whatever stands in Idempotency-Key, X-Give-Up-At or Prefer: a value, or a clear refusal."""

from datetime import UTC, datetime

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import example, given
from hypothesis import strategies as st

from app.web import problems
from app.web.send_headers import (
    MAX_KEY_LENGTH,
    RESPOND_ASYNC,
    GiveUpAtDep,
    InvalidIdempotencyKey,
    is_preferred,
    read_key,
)

PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))
HEADERS = st.text(st.characters(max_codepoint=0xFF), max_size=300)  # as a server decodes what comes on the wire


@given(HEADERS | PRINTABLE | PRINTABLE.map('"{}"'.format))
@example('"\\')
@example('"\\\\"')
def test_whatever_is_taken_for_a_key_is_short_printable_and_the_same_in_quotes(header: str) -> None:
    try:
        key = read_key(header)
    except InvalidIdempotencyKey:
        return

    assert 1 <= len(key) <= MAX_KEY_LENGTH
    assert key.isascii()
    assert key.isprintable()
    assert read_key(_quoted(key)) == key


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=MAX_KEY_LENGTH))
def test_every_key_can_be_sent_in_quotes(key: str) -> None:
    assert read_key(_quoted(key)) == key


@given(st.lists(HEADERS, max_size=4))
def test_no_list_of_preferences_is_too_odd_to_be_looked_through(headers: list[str]) -> None:
    with_it = [*headers, RESPOND_ASYNC]

    assert isinstance(is_preferred(RESPOND_ASYNC, headers), bool)
    assert is_preferred(RESPOND_ASYNC, with_it)


@given(st.text(st.characters(max_codepoint=0xFF, exclude_characters='"\\')), st.text(max_size=20))
def test_what_stands_in_quotes_is_no_preference(quoted: str, other: str) -> None:
    assert not is_preferred(RESPOND_ASYNC, [f'x="{quoted}, {RESPOND_ASYNC}, {quoted}"'])
    assert not is_preferred(RESPOND_ASYNC, [f"{RESPOND_ASYNC}={other.strip()}!"])


@pytest.fixture(scope="module")
def client():
    app = FastAPI()
    problems.install(app)

    @app.post("/")
    def show(give_up_at: GiveUpAtDep) -> datetime | None:
        return give_up_at

    return TestClient(app)


@given(
    header=HEADERS.map(lambda text: text.encode("latin-1"))
    | st.from_regex(rb"-?[0-9]{1,14}(\.[0-9]{0,12})?", fullmatch=True)
    | st.datetimes().map(lambda at: f"{at.isoformat()}+00:00".encode())
    | st.from_regex(rb"[0-9]{4}-[01][0-9]-[0-3][0-9][T ][0-9:.]{5,12}([+-][0-9]{2}:?[0-9]{2}|Z)?", fullmatch=True)
)
@example(header=b"0001-01-01T00:00:00+23:59")
@example(header=b"99999999999.999999999")
def test_whatever_is_taken_for_a_time_to_give_up_at_is_one_and_all_else_is_refused(client, header):
    answer = client.post("/", headers=[(b"X-Give-Up-At", header)])

    if answer.status_code == 200:
        assert datetime.fromisoformat(answer.json()).utcoffset() == datetime.now(UTC).utcoffset()
    else:
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


def _quoted(key: str) -> str:
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
