"""A push service that is played: requests wait for their turn there, and are answered a latency later."""

import heapq

import pytest

from app.push.curl_connections import CONNECTIONS_PER_HOST
from app.push.curl_host import FIRST_IN_FLIGHT_PER_HOST, MAX_IN_FLIGHT_PER_HOST, Host


class PlayedService:
    """Answers `per_second` requests at most, each no sooner than after its latency; both may be changed."""

    def __init__(self, *, latency_seconds: float, per_second: float, is_http2: bool = True) -> None:
        self.host = Host()
        self.latency_seconds = latency_seconds
        self.per_second = per_second
        self.answers = 0
        self.largest = 0  # in flight
        self.now = 1000.0
        self._is_http2 = is_http2
        self._free_at = 0.0
        self._under_way: list[tuple[float, float]] = []  # when it will be answered, and when it began

    def play(self, seconds: float, *, sender_per_second: float = 5000.0) -> int:
        """Send as much as may be in flight, and as the sender can; return how many were answered."""
        until, answers_before, may_begin_at = self.now + seconds, self.answers, self.now
        self.largest = 0
        while self.now < until:
            if self.host.in_flight < self.host.limit and self.now >= may_begin_at:
                may_begin_at = self.now + 1 / sender_per_second
                self._begin()
            has_room = self.host.in_flight < self.host.limit
            next_at = min([may_begin_at] * has_room + [at for at, _ in self._under_way[:1]] + [until])
            self.now = max(self.now, next_at)
            while self._under_way and self._under_way[0][0] <= self.now:
                self._answer(heapq.heappop(self._under_way)[1])
        return self.answers - answers_before

    def _begin(self) -> None:
        self._free_at = max(self._free_at, self.now) + 1 / self.per_second
        heapq.heappush(self._under_way, (max(self._free_at, self.now + self.latency_seconds), self.now))
        self.host.in_flight += 1
        self.largest = max(self.largest, self.host.in_flight)

    def _answer(self, began_at: float) -> None:
        self.answers += 1
        if self.host.answered(self.now - began_at, now=self.now):
            self.host.recount(is_http2=self._is_http2, now=self.now)
        self.host.in_flight -= 1


def test_a_service_close_by_has_few_messages_at_once() -> None:
    service = PlayedService(latency_seconds=0.001, per_second=100_000.0)

    answers = service.play(15.0)

    assert answers > 0.99 * 15 * 5000
    assert service.largest <= 2 * FIRST_IN_FLIGHT_PER_HOST


@pytest.mark.parametrize("latency_seconds", [0.02, 0.05])
def test_a_service_far_away_is_sent_to_as_fast_as_one_close_by(latency_seconds: float) -> None:
    service = PlayedService(latency_seconds=latency_seconds, per_second=100_000.0)
    service.play(1.0)

    answers = service.play(60.0)

    assert answers > 0.95 * 60 * 5000


def test_a_service_very_far_away_has_as_many_messages_as_it_may() -> None:
    service = PlayedService(latency_seconds=0.5, per_second=100_000.0)
    service.play(10.0)

    answers = service.play(60.0)

    assert service.largest == MAX_IN_FLIGHT_PER_HOST
    assert answers > 0.7 * 60 * MAX_IN_FLIGHT_PER_HOST / 0.5


def test_a_service_that_takes_seconds_is_not_measured_all_the_time() -> None:
    service = PlayedService(latency_seconds=2.0, per_second=100_000.0)
    service.play(30.0)

    answers = service.play(120.0)

    assert answers > 0.5 * 120 * MAX_IN_FLIGHT_PER_HOST / 2


def test_a_service_that_gets_slow_soon_has_few_messages() -> None:
    service = PlayedService(latency_seconds=0.05, per_second=100_000.0)
    service.play(5.0)
    many = service.host.limit

    service.per_second = 200.0
    service.play(2.0)
    few = service.host.limit

    assert many > 400
    assert few < 100


def test_a_slow_service_is_not_given_ever_more_with_the_time() -> None:
    service = PlayedService(latency_seconds=0.01, per_second=200.0)
    service.play(60.0)

    answers = service.play(120.0)

    assert answers > 0.95 * 120 * 200
    assert service.largest < 256


def test_a_service_that_has_recovered_has_as_many_messages_as_before() -> None:
    service = PlayedService(latency_seconds=0.05, per_second=100_000.0)
    service.play(5.0)
    service.per_second = 200.0
    service.play(30.0)

    service.per_second = 100_000.0
    service.play(5.0)
    answers = service.play(10.0)

    assert answers > 0.9 * 10 * 5000


def test_a_service_that_hangs_is_given_no_more_than_before() -> None:
    service = PlayedService(latency_seconds=0.05, per_second=100_000.0)
    service.play(5.0)
    service.latency_seconds = 10_000.0
    service.play(1.0)
    limit = service.host.limit

    answers = service.play(60.0)

    assert answers == 0
    assert service.host.in_flight == service.host.limit == limit <= MAX_IN_FLIGHT_PER_HOST


def test_a_service_that_gives_no_answer_is_begun_with_anew() -> None:
    service = PlayedService(latency_seconds=0.05, per_second=100_000.0)
    service.play(5.0)

    service.host.failed()

    assert service.host.limit == FIRST_IN_FLIGHT_PER_HOST


def test_each_answer_lets_in_one_more_at_most() -> None:
    service = PlayedService(latency_seconds=0.05, per_second=100_000.0)
    service.play(0.2)

    limits = []
    for _ in range(500):
        before, answers = service.host.limit, service.answers
        service.play(0.001)
        limits.append(service.host.limit - before <= service.answers - answers)

    assert all(limits)
    assert service.host.limit > 2 * FIRST_IN_FLIGHT_PER_HOST


def test_answers_that_come_in_waves_are_counted_over_a_whole_latency() -> None:
    host, now = Host(), 0.0

    for _ in range(20):
        now += 0.3
        for _ in range(host.limit):
            if host.answered(0.3, now=now):
                host.recount(is_http2=True, now=now)

    assert host.limit == MAX_IN_FLIGHT_PER_HOST


def test_on_http1_no_more_are_in_flight_than_there_may_be_connections() -> None:
    service = PlayedService(latency_seconds=0.05, per_second=100_000.0, is_http2=False)
    service.play(1.0)

    service.play(30.0)
    service.host.failed()
    service.play(5.0)

    assert service.host.is_http1
    assert service.largest == service.host.limit == service.host.connections == CONNECTIONS_PER_HOST


def test_what_is_refused_at_once_halves_the_limit_once() -> None:
    host = Host()

    for _ in range(30):
        host.refused(began_at=5.0, now=6.0)
    once = host.limit
    for number in range(10):
        host.refused(began_at=6.5 + number, now=7.0 + number)

    assert once == FIRST_IN_FLIGHT_PER_HOST // 2
    assert host.limit == 1


def test_a_host_that_refuses_again_and_again_is_refusing_until_it_answers() -> None:
    host = Host()

    seen = []
    for number in range(20):
        host.refused(began_at=1.5 + number, now=2.0 + number)
        seen.append(host.is_refusing)
    host.answered(0.1, now=30.0)

    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (False, True)
    assert not host.is_refusing
