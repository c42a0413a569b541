"""The counts behind the limits: what is asked of them, what they keep, and how a store that misbehaves is met."""

import threading
from collections.abc import Callable
from contextlib import closing

import pytest
import redis
from prometheus_client import REGISTRY

from app import redis_connection
from app.web import limiter, limiter_memory
from app.web.limiter import RateLimits, create_limiter
from tests.support.api import SettingsFactory
from tests.support.no_redis import NO_REDIS, answering
from tests.support.valkey import ValkeyServer

DEADLINE_SECONDS = 60.0
LimitsFactory = Callable[..., RateLimits]


@pytest.fixture
def limits_of(make_settings: SettingsFactory) -> LimitsFactory:
    """`limits_of(rate_limit_analytics="2/hour", redis_url=...)`."""

    def build(**overrides: object) -> RateLimits:
        settings = make_settings(**overrides)
        return RateLimits(settings, create_limiter(settings))

    return build


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that a busy machine keeps from answering is not taken for one that is gone."""
    monkeypatch.setattr(redis_connection, "TIMEOUT_SECONDS", DEADLINE_SECONDS)


def allowed(limits: RateLimits, client: str, times: int = 1) -> list[bool]:
    verdicts = [limits.hit("analytics", client) for _ in range(times)]
    return [verdict is not None and verdict.is_allowed for verdict in verdicts]


def failures() -> float:
    return REGISTRY.get_sample_value("push_rate_limiter_failures_total") or 0.0


def test_a_test_counts_nothing(limits_of: LimitsFactory) -> None:
    limits = limits_of(rate_limit_failed_login="1/minute")

    tested = [limits.test("login", "a") for _ in range(3)]
    limits.hit("login", "a")
    after = limits.test("login", "a")

    assert [verdict is not None and verdict.is_allowed for verdict in tested] == [True] * 3
    assert after is not None
    assert (after.is_allowed, after.remaining) == (False, 0)


def test_no_more_clients_are_kept_than_there_is_room_for(
    limits_of: LimitsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limiter_memory, "MAX_CLIENTS", 100)
    limits = limits_of(rate_limit_analytics="1/hour")
    kept = limits._limiter.storage._windows  # type: ignore[attr-defined]

    for number in range(1000):
        allowed(limits, f"stranger {number}")
        busy = allowed(limits, "who keeps asking")

    assert len(kept) == 100
    assert busy == [False], "whoever goes on asking is not forgotten for all the strangers"


def test_who_does_not_count_any_longer_is_forgotten(
    limits_of: LimitsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000_000.0
    monkeypatch.setattr("app.web.limiter_memory.time.time", lambda: now)
    limits = limits_of(rate_limit_analytics="2/minute")
    kept = limits._limiter.storage._windows  # type: ignore[attr-defined]
    for number in range(50):
        allowed(limits, f"stranger {number}")

    now += 61
    for _ in range(25):
        allowed(limits, "another")

    assert len(kept) == 1


def test_the_window_moves(limits_of: LimitsFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000.0
    monkeypatch.setattr("app.web.limiter_memory.time.time", lambda: now)
    limits = limits_of(rate_limit_analytics="2/minute")

    first = allowed(limits, "a")
    now += 40
    second = allowed(limits, "a", 2)
    now += 21  # the first one is over a minute old, the second is not
    third = allowed(limits, "a", 2)

    assert (first, second, third) == ([True], [True, False], [True, False])


def test_many_threads_get_exactly_the_limit(limits_of: LimitsFactory) -> None:
    limits = limits_of(rate_limit_analytics="100/hour")
    answers: list[bool] = []
    threads = [threading.Thread(target=lambda: answers.extend(allowed(limits, "a", 50))) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers.count(True) == 100


@pytest.mark.usefixtures("patient")
def test_redis_learns_nobodys_name_and_forgets_all_in_time(limits_of: LimitsFactory, redis_url: str) -> None:
    limits = limits_of(rate_limit_analytics="3/minute", redis_url=redis_url)

    allowed(limits, "user:somebody@example.org", 100)

    with closing(redis.Redis.from_url(redis_url, decode_responses=True)) as client:
        (key,) = client.keys()
        assert "somebody" not in key
        assert 0 < client.ttl(key) <= 60
        assert client.llen(key) == 3, "what is refused is not stored"


@pytest.mark.parametrize("answer", NO_REDIS)
def test_a_store_that_is_no_redis_lets_everybody_pass_and_is_counted(
    limits_of: LimitsFactory, answer: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with answering(answer) as url:
        limits = limits_of(rate_limit_analytics="1/hour", redis_url=url)
        before = failures()

        verdicts = [limits.hit("analytics", "a") for _ in range(3)]

    assert verdicts == [None] * 3
    assert failures() - before == 3
    assert "hush-hush" not in "".join(capfd.readouterr())


@pytest.mark.usefixtures("patient")
def test_a_wrong_password_lets_everybody_pass_until_it_is_right(
    limits_of: LimitsFactory, stoppable_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limiter, "PAUSE_SECONDS", 0.0)
    with closing(redis.Redis.from_url(stoppable_valkey.url)) as operator:
        operator.config_set("requirepass", "another")
        limits = limits_of(
            rate_limit_analytics="1/hour", redis_url=stoppable_valkey.url.replace("//", "//:mistyped@")
        )
        refused = limits.hit("analytics", "a")

        operator.config_set("requirepass", "mistyped")

    assert refused is None
    assert allowed(limits, "a", 2) == [True, False]


def test_one_request_finds_out_whether_redis_is_back_and_the_others_do_not_wait(
    limits_of: LimitsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = limits_of(redis_url="redis://127.0.0.1:1/0")
    limits.hit("analytics", "a")
    limits._paused_until = 1.0  # a pause that is over
    asked: list[str] = []

    def ask(*_arguments: object) -> bool:
        asked.append("once")
        assert limits.hit("analytics", "b") is None, "meanwhile"
        raise ConnectionError

    monkeypatch.setattr(limits._limiter, "hit", ask)

    assert limits.hit("analytics", "a") is None
    assert asked == ["once"]
