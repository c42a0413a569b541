"""When a lane has to wait, for how long, how slowly it begins again, and when it is well."""

import pytest

from app.delivery.pace import (
    UNLIMITED_RATE,
    Condition,
    PauseReason,
    Tally,
    Turn,
    decide,
    recovered_rate,
    turn_of,
)
from app.push.outcome import Outcome, Reason, Verdict
from tests.support.senders import ACCEPTED, GONE, REJECTED, UNAVAILABLE

WELL = Condition()
THROTTLED = Outcome(Verdict.RETRY, Reason.RATE_LIMITED, 429)
TIMEOUT = Outcome(Verdict.RETRY, Reason.TIMEOUT)
CHANNEL_THROTTLED = Outcome(Verdict.RETRY, Reason.RATE_LIMITED, 200)
AT_ONCE = Outcome(Verdict.RETRY, Reason.PUSH_SERVICE_ERROR, 503, retry_after_seconds=0)
OWN_FAULT = Outcome(Verdict.REJECTED, Reason.INVALID_KEYS)


def wishing(seconds, outcome=THROTTLED):
    return Outcome(outcome.verdict, outcome.reason, outcome.status_code, retry_after_seconds=seconds)


def decision(*outcomes, condition=WELL, rate=1000.0):
    return decide(Tally.of(outcomes), condition, rate=rate)


@pytest.mark.parametrize(
    ("outcomes", "reason"),
    [
        ([THROTTLED] * 5, PauseReason.THROTTLED),
        ([THROTTLED] * 20 + [ACCEPTED] * 180, PauseReason.THROTTLED),
        ([THROTTLED] * 10 + [TIMEOUT] * 90, PauseReason.THROTTLED),
        ([TIMEOUT] * 5, PauseReason.TROUBLED),
        ([UNAVAILABLE] * 101 + [ACCEPTED] * 100, PauseReason.TROUBLED),
        ([TIMEOUT] * 5 + [OWN_FAULT] * 100, PauseReason.TROUBLED),
    ],
)
def test_a_service_that_asks_for_less_or_does_not_answer_is_paused(outcomes, reason):
    pause = decision(*outcomes)

    assert pause is not None
    assert pause.reason is reason


@pytest.mark.parametrize(
    "outcomes",
    [
        [],
        [ACCEPTED] * 200,
        [THROTTLED] * 4,
        [THROTTLED] * 19 + [ACCEPTED] * 181,
        [TIMEOUT] * 4,
        [UNAVAILABLE] * 100 + [ACCEPTED] * 100,
        [GONE] * 200,
        [REJECTED] * 200,
        [CHANNEL_THROTTLED] * 200,
        [AT_ONCE] * 200,
        [OWN_FAULT] * 200,
    ],
)
def test_what_is_about_a_few_subscriptions_or_messages_pauses_nobody(outcomes):
    assert decision(*outcomes) is None


@pytest.mark.parametrize(
    ("wishes", "seconds"),
    [([30] * 5, 30), ([0] * 5, 1), ([86_400] * 5, 900), ([10, 20, 30, 40, 7_200], 30)],
)
def test_it_waits_as_asked_within_bounds(wishes, seconds):
    pause = decision(*(wishing(wish) for wish in wishes))

    assert pause is not None
    assert pause.seconds == seconds


def test_services_that_fail_may_say_for_how_long():
    pause = decision(*[wishing(120, UNAVAILABLE)] * 5)

    assert pause is not None
    assert (pause.reason, pause.seconds) == (PauseReason.TROUBLED, 120)


@pytest.mark.parametrize(("strikes", "longest"), [(0, 5), (1, 10), (3, 40), (6, 300), (1000, 300)])
def test_without_a_wish_it_waits_longer_each_time_up_to_five_minutes(strikes, longest):
    pauses = [decision(*[TIMEOUT] * 5, condition=Condition(strikes)) for _ in range(50)]

    seconds = {pause.seconds for pause in pauses if pause}
    assert len(seconds) > 1, "they do not come back together"
    assert longest / 2 <= min(seconds) <= max(seconds) <= longest


def test_who_was_asked_for_less_begins_again_at_half_the_rate():
    pauses = [
        decision(*[THROTTLED] * 5, rate=3000.0),
        decision(*[THROTTLED] * 5, rate=3000.0, condition=Condition(1, slowed_to=100.0)),
        decision(*[THROTTLED] * 5, rate=0.5),
        decision(*[TIMEOUT] * 5, rate=3000.0),
    ]

    assert [pause.slow_to for pause in pauses if pause] == [1500.0, 50.0, 1.0, None]


def test_a_probe_that_nobody_accepted_is_enough_for_the_next_pause():
    probe = Condition(strikes=1)

    assert decision(TIMEOUT, condition=probe) is not None
    assert decision(THROTTLED, condition=probe) is not None
    assert decision(TIMEOUT, ACCEPTED, ACCEPTED, condition=probe) is None


def test_small_batches_add_up():
    tally = sum([Tally.of([wishing(60)])] * 5, Tally())

    pause = decide(tally, WELL, rate=10.0)

    assert pause is not None
    assert pause.seconds == 60


@pytest.mark.parametrize(
    ("outcomes", "is_healthy"),
    [
        ([ACCEPTED], True),
        ([ACCEPTED] * 3 + [TIMEOUT], True),
        ([ACCEPTED, TIMEOUT], False),
        ([ACCEPTED] + [GONE] * 9, True),
        ([ACCEPTED, THROTTLED, GONE], True),
        ([ACCEPTED, THROTTLED], False),
        ([GONE], False),
        ([], False),
    ],
)
def test_a_service_is_well_when_it_accepts_and_most_answers_are_no_trouble(outcomes, is_healthy):
    assert Tally.of(outcomes).is_healthy is is_healthy


def test_a_slowed_lane_doubles_its_rate_each_minute_until_it_is_as_fast_as_any():
    assert recovered_rate(None, 0.0) is None
    assert recovered_rate(10.0, 0.0) == recovered_rate(10.0, -3600.0) == 10.0
    assert recovered_rate(10.0, 180.0) == 80.0
    assert recovered_rate(UNLIMITED_RATE / 2, 59.0) is not None
    assert recovered_rate(UNLIMITED_RATE / 2, 60.0) is None
    assert recovered_rate(1.0, 1e9) is None


@pytest.mark.parametrize(
    ("condition", "cap", "turn"),
    [
        (WELL, None, Turn(500)),
        (WELL, 1000.0, Turn(500, 1000.0)),
        (WELL, 10.0, Turn(100, 10.0)),
        (WELL, 0.01, Turn(1, 0.01)),
        (Condition(0, slowed_to=20.0), None, Turn(200, 20.0)),
        (Condition(0, slowed_to=20.0), 5.0, Turn(50, 5.0)),
        (Condition(0, slowed_to=5.0), 20.0, Turn(50, 5.0)),
        (Condition(1), None, Turn(8)),
        (Condition(1, slowed_to=2.0), None, Turn(8, 2.0)),
        (Condition(1, is_refused=True), None, Turn(1)),
    ],
)
def test_a_turn_is_as_large_and_as_fast_as_the_lane_may_go(condition, cap, turn):
    assert turn_of(condition, messages=500, max_per_second=cap) == turn
