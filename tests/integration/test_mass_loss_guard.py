"""The guard against mass losses: when it trips, for whom, and that two of them do no more than one."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from app.db.session import transaction
from app.delivery import guard, plan, quarantine
from app.ids import new_id
from app.models import DEFAULT_TENANT_ID
from app.observability import metrics
from app.workers.database_gauges import DatabaseGauges
from app.workers.mass_loss import MassLossGuard
from tests.support.delivery import NOTHING_INLINE, finish_with_a_worker, send
from tests.support.ledger import add_tenant
from tests.support.losses import FCM, add_key, add_subscriptions, counted, quarantines
from tests.support.metric_samples import Samples

APPLE = "web.push.apple.com"
HELD = "quarantine_id IS NOT NULL AND quarantined_at IS NOT NULL AND gone_at IS NOT NULL"


@pytest.fixture
def key_id(sessions):
    with transaction(sessions) as session:
        return add_key(session)


def execute(sessions, statement, **values):
    with transaction(sessions) as session:
        session.execute(text(statement), values)


def end(sessions, how="released"):
    execute(sessions, "UPDATE push_quarantines SET ended_at = now(), ended_as = :how", how=how)


@pytest.mark.parametrize(
    ("gone", "tried", "is_one"),
    [(19, 19, False), (20, 20, True), (20, 99, True), (20, 100, False), (21, 100, True)],
)
def test_twenty_and_over_a_fifth(gone, tried, is_one):
    assert guard.is_mass_loss(gone, tried) is is_one


@pytest.mark.parametrize(("gone", "accepted", "held"), [(25, 99, 25), (25, 100, 0), (19, 0, 0)])
def test_it_trips_when_too_many_of_those_tried_are_gone(sessions, key_id, gone, accepted, held):
    add_subscriptions(sessions, gone, key_id, gone_ago="1 hour")
    add_subscriptions(sessions, accepted, key_id)

    guard.look(sessions)

    assert counted(sessions, HELD) == held
    assert [(row.gone_count, row.tried_count, row.ended_at) for row in quarantines(sessions)] == (
        [(gone, gone + accepted, None)] if held else []
    )


@pytest.mark.parametrize(
    "others",
    [
        {"used_ago": "25 hours"},
        {"used_ago": None, "is_established": False},
        {"host": APPLE},
        {"gone_ago": "25 hours"},
    ],
    ids=["not tried lately", "never accepted", "at another push service", "gone before"],
)
def test_those_who_were_not_tried_in_the_lane_do_not_count_as_tried(sessions, key_id, others):
    add_subscriptions(sessions, 25, key_id, gone_ago="1 hour")
    add_subscriptions(sessions, 200, key_id, **others)

    guard.look(sessions)

    assert counted(sessions, HELD) == 25


@pytest.mark.parametrize(
    "gone",
    [
        {"is_established": False, "gone_ago": "1 hour"},
        {"gone_ago": "25 hours"},
    ],
    ids=["never accepted", "long ago"],
)
def test_a_thousand_of_these_trip_nothing(sessions, key_id, gone):
    add_subscriptions(sessions, 1000, key_id, **gone)
    add_subscriptions(sessions, 10, key_id)
    add_subscriptions(sessions, 19, key_id, gone_ago="1 hour")
    guard.look(sessions)

    assert quarantines(sessions) == []


def test_who_unsubscribed_does_not_count(sessions, key_id):
    add_subscriptions(sessions, 50, key_id, gone_ago="1 hour")
    execute(sessions, "UPDATE push_subscriptions SET deleted_at = now()")

    guard.look(sessions)

    assert quarantines(sessions) == []


def test_all_who_are_gone_in_the_lanes_window_are_held_and_nobody_else(sessions, key_id):
    with transaction(sessions) as session:
        other_key = add_key(session, public_key="C" * 87)
        tenant_id = add_tenant(session, "other")
        other_tenants_key = add_key(session, tenant_id)
    add_subscriptions(sessions, 25, key_id, gone_ago="1 hour")
    newcomers = add_subscriptions(sessions, 5, key_id, gone_ago="2 hours", is_established=False)
    add_subscriptions(sessions, 7, key_id, gone_ago="25 hours")
    add_subscriptions(sessions, 19, key_id, gone_ago="1 hour", host=APPLE)
    add_subscriptions(sessions, 19, other_key, gone_ago="1 hour")
    add_subscriptions(sessions, 19, other_tenants_key, gone_ago="1 hour", tenant_id=tenant_id)
    add_subscriptions(sessions, 10, key_id)

    guard.look(sessions)

    [row] = quarantines(sessions)
    assert (row.tenant_id, row.endpoint_host, row.vapid_key_id) == (DEFAULT_TENANT_ID, FCM, key_id)
    assert counted(sessions, HELD) == 30
    assert counted(sessions, f"quarantine_id IS NOT NULL AND id = '{newcomers[0]}'") == 1
    assert counted(sessions, "enabled AND gone_at IS NULL") == 10


def test_while_it_is_open_whoever_is_gone_joins_it(sessions, key_id):
    add_subscriptions(sessions, 25, key_id, gone_ago="1 hour")
    guard.look(sessions)
    add_subscriptions(sessions, 3, key_id, gone_ago="1 minute")
    add_subscriptions(sessions, 1000, key_id)

    guard.look(sessions)

    assert len(quarantines(sessions)) == 1
    assert counted(sessions, HELD) == 28


@pytest.mark.parametrize(("later", "count"), [(19, 1), (20, 2)])
def test_after_one_has_ended_only_what_came_later_is_looked_at(sessions, key_id, later, count):
    add_subscriptions(sessions, 25, key_id, gone_ago="1 hour")
    guard.look(sessions)
    add_subscriptions(sessions, 15, key_id, gone_ago="1 minute")
    end(sessions)
    execute(sessions, "UPDATE push_quarantines SET ended_at = now() - interval '10 seconds'")

    add_subscriptions(sessions, later, key_id, gone_ago="1 second")
    guard.look(sessions)

    assert len(quarantines(sessions)) == count


def test_looking_again_and_two_at_once_is_as_looking_once(sessions, key_id, monkeypatch):
    monkeypatch.setattr(guard, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(guard, "COUNTED_AT_ONCE", 13)
    add_subscriptions(sessions, 100, key_id, gone_ago="1 hour")
    add_subscriptions(sessions, 100, key_id)

    with capture_logs() as logs, ThreadPoolExecutor(2) as threads:
        list(threads.map(guard.look, [sessions] * 2))
        guard.look(sessions)

    assert len(quarantines(sessions)) == 1
    assert counted(sessions, HELD) == 100
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == [
        "mass loss suspected: gone subscriptions are kept in quarantine"
    ]


def test_one_who_died_in_the_middle_leaves_the_rest_to_the_next(sessions, key_id, monkeypatch):
    monkeypatch.setattr(guard, "ROWS_AT_ONCE", 10)
    add_subscriptions(sessions, 50, key_id, gone_ago="1 hour")
    [loss] = read(sessions)
    quarantine_id = guard._open(sessions, loss, 50)
    assert quarantine_id is not None
    joining = guard._join_by_and_by(sessions, quarantine_id, loss.lane, loss.since)
    next(joining)
    joining.close()
    before = counted(sessions, HELD)

    guard.look(sessions)

    assert (before, counted(sessions, HELD)) == (10, 50)


def read(sessions):
    with transaction(sessions) as session:
        return guard.losses(session)


def test_millions_may_take_longer_to_read_than_a_statement_may_elsewhere(sessions):
    with transaction(sessions) as session:
        guard.losses(session)
        while_losses_are_read = session.scalar(text("SHOW statement_timeout"))
    with transaction(sessions) as session:
        quarantine.count(session, new_id())
        while_the_held_are_counted = session.scalar(text("SHOW statement_timeout"))

    assert (while_losses_are_read, while_the_held_are_counted) == ("0", "0")


def test_the_log_names_the_host_and_counts_and_no_endpoint(sessions, key_id):
    add_subscriptions(sessions, 25, key_id, gone_ago="1 hour")

    with capture_logs() as logs:
        guard.look(sessions)

    warning, info = logs
    assert (warning["service_host"], warning["gone"], warning["tried_at_least"]) == (FCM, 25, 25)
    assert (info["service_host"], info["count"]) == (FCM, 25)
    assert "https://" not in str(logs)


@pytest.mark.parametrize(("is_open", "settled"), [(True, ("failed", "quarantined")), (False, ("expired", "gone"))])
def test_a_pending_delivery_to_somebody_held_says_so(pipeline, subscribe, sessions, is_open, settled):
    subscribers = subscribe(20)
    sent = send(pipeline, limits=NOTHING_INLINE)
    with transaction(sessions) as session:
        plan.plan_page(session, sent.notification.id)
    execute(
        sessions, "UPDATE push_subscriptions SET gone_at = now(), enabled = false, first_accepted_at = created_at"
    )
    guard.look(sessions)
    if not is_open:
        end(sessions)

    finish_with_a_worker(pipeline)

    assert {(who.log.status, who.log.reason) for who in subscribers} == {settled}


def test_gauges_tell_of_it_until_it_ends(sessions, key_id):
    add_subscriptions(sessions, 25, key_id, gone_ago="1 hour")
    guard.look(sessions)

    meanwhile = shown(sessions)
    end(sessions)

    assert meanwhile == {"push_open_quarantines": 1, "push_quarantined_subscriptions": 25}
    assert shown(sessions) == {"push_open_quarantines": 0, "push_quarantined_subscriptions": 0}


def shown(sessions):
    job = DatabaseGauges()
    job.refresh(sessions)
    job.close()
    samples = Samples(metrics.render()[0].decode())
    names = ("push_open_quarantines", "push_quarantined_subscriptions")
    return {name: samples.value(name, service="fcm") for name in names}


def test_one_process_looks_and_another_takes_over_when_it_goes(sessions, key_id):
    add_subscriptions(sessions, 25, key_id, gone_ago="1 hour")
    leader, standby = MassLossGuard(), MassLossGuard()
    leader(sessions)
    add_subscriptions(sessions, 3, key_id, gone_ago="1 second")

    standby(sessions)
    before = counted(sessions, HELD)
    leader.close()
    standby(sessions)
    standby.close()

    assert (before, counted(sessions, HELD)) == (25, 28)


def test_the_health_tells_of_it_and_names_nobody(client, sessions):
    with transaction(sessions) as session:
        key_id = add_key(session)
    add_subscriptions(sessions, 25, key_id, gone_ago="1 hour")
    guard.look(sessions)

    answer = client.get("/health/")

    audience = answer.json()["dependencies"]["audience"]
    assert (answer.status_code, answer.json()["status"], audience["status"]) == (200, "degraded", "degraded")
    assert "python -m app.cli quarantine list" in audience["detail"]
    assert FCM not in answer.text
