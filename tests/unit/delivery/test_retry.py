from datetime import timedelta

import pytest

from app.delivery.retry import delay_before_retry


def test_the_push_services_wish_is_followed_to_the_second():
    assert delay_before_retry(1, 0) == timedelta(0)
    assert delay_before_retry(1, 120) == timedelta(seconds=120)
    assert delay_before_retry(9, 7200) == timedelta(hours=2)


def test_a_push_service_that_says_at_once_every_time_is_asked_more_and_more_rarely():
    waits = [delay_before_retry(attempt, 0).total_seconds() for attempt in range(1, 12)]

    assert waits == [0, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


@pytest.mark.parametrize(("attempt", "longest_seconds"), [(1, 10), (2, 20), (5, 160), (10, 3600), (10_000, 3600)])
def test_without_a_wish_the_wait_doubles_up_to_an_hour_with_jitter(attempt, longest_seconds):
    delays = {delay_before_retry(attempt, None).total_seconds() for _ in range(50)}

    assert len(delays) > 1
    assert all(longest_seconds / 2 <= delay <= longest_seconds for delay in delays)
