from datetime import timedelta

import pytest

from app.delivery.retry import delay_before_retry


def test_the_push_services_wish_is_followed_to_the_second():
    assert delay_before_retry(1, 120) == timedelta(seconds=120)
    assert delay_before_retry(9, 0) == timedelta(0)


@pytest.mark.parametrize(("attempt", "longest_seconds"), [(1, 10), (2, 20), (5, 160), (10, 3600), (10_000, 3600)])
def test_without_a_wish_the_wait_doubles_up_to_an_hour_with_jitter(attempt, longest_seconds):
    delays = {delay_before_retry(attempt, None).total_seconds() for _ in range(50)}

    assert len(delays) > 1
    assert all(longest_seconds / 2 <= delay <= longest_seconds for delay in delays)
