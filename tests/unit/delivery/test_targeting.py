"""How large an audience is, is found out in a moment or not at all."""

from sqlalchemy import text

from app.db.session import transaction
from app.delivery import targeting
from tests.support.delivery import NOTHING_INLINE, finish_with_a_worker, received, send


def test_an_audience_that_takes_long_to_count_is_left_to_the_workers(pipeline, subscribe, monkeypatch):
    subscribers = subscribe(2, topics=["news"])
    monkeypatch.setattr(targeting, "COUNTED_WITHIN_MS", 50)
    with transaction(pipeline.sessions) as session:
        session.execute(text("LOCK push_subscriptions IN ACCESS EXCLUSIVE MODE"))  # reading takes forever

        sent = send(pipeline, topics=["news"])

    assert (sent.is_complete, sent.notification.state) == (False, "planning")
    finish_with_a_worker(pipeline)
    assert received(subscribers) == [1, 1]


def test_only_the_counting_is_hurried(pipeline, subscribe):
    subscribe(2)
    notification = send(pipeline, limits=NOTHING_INLINE).notification

    with transaction(pipeline.sessions) as session:
        before = session.scalar(text("SHOW statement_timeout"))
        is_larger = [targeting.is_larger_than(session, notification, limit) for limit in (1, 2)]
        after = session.scalar(text("SHOW statement_timeout"))

    assert is_larger == [True, False]
    assert before == after == "30s"
