"""Answers kept for seconds: a convenience that never stands in the way."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from pydantic import BaseModel
from redis import Redis

from app.analytics.cache import TTL_SECONDS, cached
from app.redis_connection import redis_client
from tests.support.no_redis import NO_REDIS, answering


class Answer(BaseModel):
    number: int


class Counting:
    """Computes 1, 2, 3, and so on."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Answer:
        self.calls += 1
        return Answer(number=self.calls)


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    client = Redis.from_url(redis_url)
    yield client
    client.close()


def test_without_redis_every_answer_is_computed() -> None:
    compute = Counting()

    answers = [cached(None, "key", Answer, compute=compute) for _ in range(2)]

    assert [answer.number for answer in answers] == [1, 2]


def test_an_answer_is_kept_for_seconds(redis: Redis) -> None:
    compute = Counting()

    answers = [cached(redis, "key", Answer, compute=compute) for _ in range(2)]

    assert answers == [Answer(number=1), Answer(number=1)]
    assert compute.calls == 1
    assert 0 < int(redis.pttl("key")) <= TTL_SECONDS * 1000


def test_another_question_has_another_answer(redis: Redis) -> None:
    compute = Counting()

    cached(redis, "one", Answer, compute=compute)

    assert cached(redis, "two", Answer, compute=compute) == Answer(number=2)


def test_what_another_version_kept_is_computed_anew(redis: Redis) -> None:
    redis.set("key", '{"number": "many"}')

    assert cached(redis, "key", Answer, compute=Counting()) == Answer(number=1)
    assert redis.get("key") == b'{"number":1}'


def test_a_redis_that_is_gone_costs_the_cache_only() -> None:
    nobody = Redis(host="127.0.0.1", port=1, socket_connect_timeout=1)

    assert cached(nobody, "key", Answer, compute=Counting()) == Answer(number=1)


def test_a_failure_to_compute_is_not_kept(redis: Redis) -> None:
    def fail() -> Answer:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cached(redis, "key", Answer, compute=fail)

    assert redis.exists("key") == 0


@pytest.mark.parametrize("answer", NO_REDIS)
def test_what_is_no_redis_never_stands_in_the_way(answer: bytes) -> None:
    compute = Counting()

    with answering(answer) as url, closing(redis_client(url)) as client:
        answers = [cached(client, "key", Answer, compute=compute) for _ in range(2)]

    assert [answer.number for answer in answers] == [1, 2]
