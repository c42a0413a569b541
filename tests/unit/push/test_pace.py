import pytest

from app.push.pace import Pace


def begin_all(pace: Pace, count: int, *, at: float) -> list[float]:
    """Begin so many messages, each as soon as it is due, the first one at this time; return when they began."""
    times = []
    for _ in range(count):
        at = max(at, pace.due_at)
        pace.note_begun(at)
        times.append(at)
    return times


def test_messages_are_spread_evenly_over_the_time() -> None:
    times = begin_all(Pace(4.0), 5, at=100.0)

    assert times == [100.0, 100.25, 100.5, 100.75, 101.0]


def test_the_first_message_is_due_at_once() -> None:
    assert Pace(0.001).due_at < 0


def test_a_little_lateness_is_made_up_for() -> None:
    pace = Pace(10.0)
    begin_all(pace, 1, at=100.0)

    times = begin_all(pace, 6, at=100.5)

    assert times[:5] == [100.5] * 5
    assert times[5] == pytest.approx(100.6)


def test_a_long_wait_is_not_made_up_for_by_a_flood() -> None:
    pace = Pace(10.0)
    begin_all(pace, 1, at=100.0)

    times = begin_all(pace, 30, at=160.0)

    assert len([time for time in times if time == 160.0]) == 11
    assert times[-1] > 161.8


def test_without_a_rate_nothing_is_ever_too_early() -> None:
    pace = Pace(None)

    assert not pace.is_even
    assert pace.due_at < 0


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_rate_that_lets_nothing_through_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        Pace(rate)
