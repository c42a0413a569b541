"""Running a batch while the database is away: answers wait in memory, and nothing further is posted meanwhile."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import OperationalError

from app.db.session import engine_of, transaction
from app.delivery import plan, run
from app.delivery.lanes import open_lanes
from app.delivery.run import run_batch
from app.models import DeliveryBatch, DeliveryLog
from tests.support.delivery import NOTHING_INLINE, claim_batch, send
from tests.support.senders import ScriptedSender

AUDIENCE = 6


class Database:
    """The pipeline's database, to take away and give back. Counts what was asked of it while it was away."""

    def __init__(self, sessions):
        self.is_away = False
        self.refused = 0
        event.listen(engine_of(sessions), "do_connect", self._refuse, insert=True)
        event.listen(engine_of(sessions), "before_cursor_execute", self._refuse)

    def _refuse(self, *args):
        if self.is_away:
            self.refused += 1
            raise OperationalError("any statement", {}, Exception("the database is away"))


@pytest.fixture
def database(pipeline):
    return Database(pipeline.sessions)


@pytest.fixture
def batch_id(pipeline, subscribe, monkeypatch):
    """A batch for six, whose outcomes are written two by two."""
    monkeypatch.setattr(run, "WRITE_EVERY_ROWS", 2)
    monkeypatch.setattr(run, "WRITE_EVERY_SECONDS", 3600)
    monkeypatch.setattr(run, "FIRST_WAIT_SECONDS", 0.001)
    subscribe(AUDIENCE)
    sent = send(pipeline, limits=NOTHING_INLINE)
    with transaction(pipeline.sessions) as session:
        [batch_id] = plan.plan_page(session, sent.notification.id).batch_ids
    return batch_id


def statuses(pipeline):
    with transaction(pipeline.sessions) as session:
        return sorted(session.scalars(select(DeliveryLog.status)))


def batch(pipeline, batch_id):
    with transaction(pipeline.sessions) as session:
        return session.get_one(DeliveryBatch, batch_id)


def test_outcomes_wait_for_the_database_and_nothing_new_is_posted_meanwhile(
    pipeline, database, batch_id, monkeypatch
):
    waits = []

    def sleep(seconds):
        waits.append(len(sender.posted))
        database.is_away = database.refused < 4

    def before(number):
        database.is_away = number == 1

    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    sender = ScriptedSender(before=before)

    report = run_batch(replace(pipeline, sender=sender), batch_id)

    assert waits == [2, 2, 2, 2], "two were posted when it went away, and no more while it was"
    assert report.counts == {"sent": 2}
    assert statuses(pipeline) == ["pending"] * 4 + ["sent"] * 2
    assert batch(pipeline, batch_id).state == "ready", "the rest is given back"


def test_patience_ends_and_the_lease_keeps_the_batch_from_the_next_worker_until_it_runs_out(
    pipeline, database, batch_id, monkeypatch
):
    monkeypatch.setattr(run, "WRITE_PATIENCE_SECONDS", 0.02)
    sender = ScriptedSender(before=lambda number: setattr(database, "is_away", number == 1))

    with pytest.raises(OperationalError):
        run_batch(replace(pipeline, sender=sender), batch_id)

    database.is_away = False
    assert len(sender.posted) == 2
    assert statuses(pipeline) == ["pending"] * AUDIENCE
    with transaction(pipeline.sessions) as session:
        assert open_lanes(session) == []
        session.execute(text("UPDATE push_delivery_batches SET leased_until = now() - interval '1 second'"))
        assert len(open_lanes(session)) == 1


def test_a_lease_that_was_lost_ends_the_posting(pipeline, batch_id):
    def lose_the_lease(number):
        if number == 1:
            with transaction(pipeline.sessions) as session:
                session.execute(text("UPDATE push_delivery_batches SET leased_until = now() - interval '1 second'"))
                assert claim_batch(session, batch_id) is not None

    sender = ScriptedSender(before=lose_the_lease)

    run_batch(replace(pipeline, sender=sender), batch_id)

    assert len(sender.posted) == 2
    assert statuses(pipeline) == ["pending"] * 4 + ["sent"] * 2, "what was posted is recorded all the same"
    assert batch(pipeline, batch_id).state == "leased", "it is the other's now"


def test_every_write_renews_the_lease(pipeline, batch_id):
    ends = []

    def before(number):
        ends.append(batch(pipeline, batch_id).leased_until)

    run_batch(replace(pipeline, sender=ScriptedSender(before=before)), batch_id)

    assert ends[0] == ends[1] < ends[2] == ends[3] < ends[4]
