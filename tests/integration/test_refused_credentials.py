"""A push service that answers 401 or 403: most of the established, then it is our fault; else it is about a few."""

import pytest
from sqlalchemy import event, text

from app.db.session import engine_of, transaction
from app.delivery import plan
from app.delivery.refusals import WINDOW_TRIED
from tests.support.delivery import NOTHING_INLINE, finish_with_a_worker, received, send
from tests.support.refusals import (
    ESTABLISHED,
    REFUSED,
    is_paused,
    ledger,
    let_it_be_later,
    planned,
    run,
    states,
)
from tests.support.senders import ACCEPTED, UNAVAILABLE

HOST, ANOTHER = "127.0.0.1", "127.0.0.2"


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(plan, "BATCH_SIZE", 10)


def broadcast(pipeline, outcomes, **fields):
    run(pipeline, planned(pipeline, **fields), outcomes)


def test_a_lane_that_refuses_most_of_the_established_waits_and_they_are_tried_again(pipeline, subscribe):
    subscribers = subscribe(30, host=HOST, **ESTABLISHED)
    others = subscribe(5, host=ANOTHER, **ESTABLISHED)
    in_one, in_another = sorted(planned(pipeline), key=lambda batch_id: not is_of(pipeline, batch_id, HOST))

    run(pipeline, [in_one], [REFUSED] * 30)
    run(pipeline, [in_another], [ACCEPTED] * 5)

    assert states(pipeline) == [("refused", 30, 30)]
    assert is_paused(pipeline)
    assert ledger(pipeline) == [("pending", "key_mismatch", 30), ("sent", None, 5)]
    assert all(who.row.enabled and who.row.gone_at is None and who.row.key_mismatch_at for who in subscribers)
    assert all(who.row.key_mismatch_at is None for who in others)


def is_of(pipeline, batch_id, host):
    with transaction(pipeline.sessions) as session:
        found = session.scalar(
            text("SELECT endpoint_host FROM push_delivery_batches WHERE id = :id"), {"id": batch_id}
        )
    return found.startswith(f"{host}:")


def test_they_get_it_once_the_credentials_are_mended(pipeline, push_service, subscribe):
    subscribers = subscribe(60, **ESTABLISHED)
    push_service.answers(403)
    send(pipeline, limits=NOTHING_INLINE)
    finish_with_a_worker(pipeline)
    meanwhile = received(subscribers)

    push_service.script.clear()
    let_it_be_later(pipeline)
    finish_with_a_worker(pipeline)
    let_it_be_later(pipeline)
    finish_with_a_worker(pipeline)

    assert meanwhile == [0] * 60
    assert received(subscribers) == [1] * 60
    assert states(pipeline) == [(None, 0, 0)]
    assert all(who.row.key_mismatch_at is None for who in subscribers)


@pytest.mark.parametrize(
    ("refused", "accepted", "state"),
    [
        (19, 0, (None, 19, 19)),
        (20, 20, (None, 40, 20)),
        (21, 20, ("refused", 41, 21)),
        (20, 0, ("refused", 20, 20)),
    ],
    ids=["too few", "half", "more than half", "twenty"],
)
def test_enough_have_to_be_tried_and_over_half_refused(pipeline, subscribe, refused, accepted, state):
    subscribe(refused + accepted, **ESTABLISHED)

    broadcast(pipeline, [REFUSED] * refused + [ACCEPTED] * accepted)

    assert states(pipeline) == [state]
    assert is_paused(pipeline) is (state[0] is not None)


def test_forged_subscriptions_count_for_nothing_but_themselves(pipeline, subscribe):
    forged = subscribe(60)
    real = subscribe(10, **ESTABLISHED)

    broadcast(pipeline, [REFUSED] * 60 + [ACCEPTED] * 10)

    assert states(pipeline) == []
    assert ledger(pipeline) == [("failed", "key_mismatch", 60), ("sent", None, 10)]
    assert all(who.row.key_mismatch_at for who in forged)
    assert all(who.row.key_mismatch_at is None for who in real)


def test_what_processes_see_adds_up(pipeline, subscribe, small_batches):
    subscribe(30, **ESTABLISHED)
    first, second, third = planned(pipeline)

    run(pipeline, [first], [REFUSED] * 10)
    before = is_paused(pipeline)
    run(pipeline, [second], [REFUSED] * 10)

    assert (before, is_paused(pipeline)) == (False, True)
    assert ledger(pipeline) == [
        ("failed", "key_mismatch", 10),  # they were too few to tell
        ("pending", "key_mismatch", 10),
        ("pending", None, 10),
    ]
    assert run(pipeline, [third], []) == [0]


def test_what_others_accept_meanwhile_counts_too(pipeline, subscribe, small_batches):
    subscribe(40, **ESTABLISHED)
    batch_ids = planned(pipeline)

    for batch_id, outcome in zip(batch_ids, [REFUSED, ACCEPTED, ACCEPTED, REFUSED], strict=True):
        run(pipeline, [batch_id], [outcome] * 10)

    assert states(pipeline) == [(None, 40, 20)]


def test_one_who_is_refused_again_and_again_is_one(pipeline, subscribe):
    [unlucky] = subscribe(1, **ESTABLISHED)

    for _ in range(21):
        broadcast(pipeline, [REFUSED], subscription_ids=[unlucky.id])

    assert states(pipeline) == [(None, 1, 1)]


@pytest.mark.parametrize(
    "change",
    ["window_started_at = now() - interval '2 hours'", f"window_tried = {WINDOW_TRIED}, window_refused = 1"],
    ids=["an hour", "many tried"],
)
def test_a_window_ends_and_the_next_refusal_begins_another(pipeline, subscribe, change):
    subscribe(25, **ESTABLISHED)
    broadcast(pipeline, [REFUSED] * 2 + [ACCEPTED] * 23)
    with transaction(pipeline.sessions) as session:
        session.execute(text(f"UPDATE push_service_states SET {change}"))

    broadcast(pipeline, [REFUSED] * 12 + [ACCEPTED] * 13)

    assert states(pipeline) == [(None, 25, 12)]


def test_without_a_refusal_and_with_no_window_open_nothing_is_asked_of_the_database(pipeline, subscribe):
    subscribe(5, **ESTABLISHED)
    statements = []

    @event.listens_for(engine_of(pipeline.sessions), "after_cursor_execute")
    def note(connection, cursor, statement, *rest):
        statements.append(statement)

    broadcast(pipeline, [ACCEPTED] * 3 + [UNAVAILABLE] * 2)

    assert not [
        each for each in statements if "push_service_states" in each and "push_delivery_batches" not in each
    ]
    assert states(pipeline) == []
