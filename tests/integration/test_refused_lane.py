"""A push service that refuses us is asked once a minute, by one process, with one message, until it accepts."""

import pytest

from app.delivery import plan
from app.delivery.run import run_batch
from tests.support.refusals import (
    ESTABLISHED,
    REFUSED,
    a_process,
    is_paused,
    ledger,
    let_it_be_later,
    planned,
    run,
    states,
)
from tests.support.senders import ACCEPTED, UNAVAILABLE, ScriptedSender


@pytest.fixture
def refused_lane(pipeline, subscribe, monkeypatch):
    """The last two batches of forty established, in a lane that has refused the first twenty."""
    monkeypatch.setattr(plan, "BATCH_SIZE", 10)
    subscribe(40, **ESTABLISHED)
    first, second, *others = planned(pipeline)
    run(pipeline, [first, second], [REFUSED] * 10)
    return others


def test_it_is_asked_once_a_minute_with_one_message(pipeline, refused_lane):
    third, fourth = refused_lane
    let_it_be_later(pipeline)

    asked = run(pipeline, [third], [REFUSED] * 10)
    during_the_pause = run(pipeline, [fourth], [])
    let_it_be_later(pipeline)
    again = run(pipeline, [fourth], [REFUSED] * 10)

    assert (asked, during_the_pause, again) == ([1], [0], [1])
    assert is_paused(pipeline)
    put_off = ("pending", "key_mismatch", 12)
    assert ledger(pipeline) == [("failed", "key_mismatch", 10), put_off, ("pending", None, 18)]


def test_while_one_process_asks_no_other_does(pipeline, refused_lane):
    third, fourth = refused_lane
    let_it_be_later(pipeline)
    meanwhile = []
    asking = ScriptedSender(before=lambda number: meanwhile.extend(run(pipeline, [fourth], [])))

    run_batch(a_process(pipeline, asking), third)

    assert (len(asking.posted), meanwhile) == (1, [0])


def test_an_answer_that_accepts_ends_it_for_all(pipeline, refused_lane):
    third, fourth = refused_lane
    let_it_be_later(pipeline)

    asked = run(pipeline, [third], [ACCEPTED])
    let_it_be_later(pipeline)

    assert asked == [1]
    assert states(pipeline) == [(None, 0, 0)]
    assert run(pipeline, [fourth], []) == [10]


def test_an_established_one_is_asked_first(pipeline, subscribe, refused_lane):
    forged = subscribe(9, topics=["mixed"])
    [real] = subscribe(1, topics=["mixed"], **ESTABLISHED)
    let_it_be_later(pipeline)
    [batch_id] = planned(pipeline, topics=["mixed"])

    run(pipeline, [batch_id], [ACCEPTED])

    assert real.log.status == "sent"
    assert {who.log.status for who in forged} == {"pending"}


def test_forged_ones_alone_keep_nobody_from_asking(pipeline, subscribe, refused_lane):
    third, _ = refused_lane
    subscribe(10, topics=["forged"])
    let_it_be_later(pipeline)
    [forged] = planned(pipeline, topics=["forged"])

    asked = run(pipeline, [forged], [REFUSED] * 10)
    paused = is_paused(pipeline)
    at_once = run(pipeline, [third], [ACCEPTED])

    assert (asked, paused, at_once) == ([1], False, [1])
    assert states(pipeline) == [(None, 0, 0)]


def test_trouble_in_between_does_not_end_it(pipeline, refused_lane):
    third, fourth = refused_lane
    let_it_be_later(pipeline)

    run(pipeline, [third], [UNAVAILABLE])

    assert states(pipeline)[0][0] == "refused"
    let_it_be_later(pipeline)
    assert run(pipeline, [fourth], [REFUSED] * 10) == [1]
