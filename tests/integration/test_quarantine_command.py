"""`python -m app.cli quarantine`: what is held is listed, and becomes what the operator says."""

from datetime import UTC, datetime
from functools import partial

import pytest
from sqlalchemy import text

from app.db.session import transaction
from app.delivery import quarantine, service_states
from app.delivery.bell import Listener
from app.delivery.lanes import Lane
from app.delivery.pace import Pause, PauseReason
from app.ids import new_id
from app.keyring.service import SHORT_CHARACTERS
from app.models import DEFAULT_TENANT_ID
from app.observability import metrics
from app.workers.database_gauges import DatabaseGauges
from tests.support.losses import FCM, add_key, add_subscriptions, counted
from tests.support.metric_samples import Samples
from tests.support.quarantine_command import ACTIVE, ends, execute, run, trip_the_guard

APPLE = "web.push.apple.com"


@pytest.fixture(autouse=True)
def environment(database_url, tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(quarantine, "ROWS_AT_ONCE", 10)


@pytest.fixture
def key_id(sessions):
    with transaction(sessions) as session:
        return add_key(session)


@pytest.fixture
def trip(sessions, key_id):
    return partial(trip_the_guard, sessions, key_id)


def refuse(sessions, key_id, host=APPLE):
    with transaction(sessions) as session:
        lane = Lane(DEFAULT_TENANT_ID, host, key_id)
        service_states.pause(session, lane, Pause(PauseReason.REFUSED, 60.0))
        session.execute(text("UPDATE push_service_states SET window_tried = 40, window_refused = 30"))


def test_without_any_the_list_says_so(sessions):
    result = run("list")

    assert result.exit_code == 0, result.output
    assert "Nothing is in quarantine, and no push service refuses our credentials." in result.output


def test_the_list_shows_who_is_held_where_and_who_refuses_us(sessions, key_id, trip):
    released = trip(25, host=APPLE)
    run("release", released)
    held = trip(30)
    add_subscriptions(sessions, 1, key_id, gone_ago="1 second")
    refuse(sessions, key_id)

    shown = run("list").output.splitlines()

    assert [line.split()[1:3] for line in shown if str(held) in line] == [[FCM, "B" * SHORT_CHARACTERS]]
    assert [line.split()[-4:] for line in shown if str(held) in line] == [["30", "30", "30", "open"]]
    [ended] = [line for line in shown if str(released) in line]
    assert "released 25 on " in ended
    assert [line.split() for line in shown if line.split()[:1] == [APPLE]] == [
        [APPLE, "B" * SHORT_CHARACTERS, "30", "40"]
    ]
    assert "https://" not in "".join(shown)


def test_restored_ones_are_active_again(sessions, key_id, trip):
    quarantine_id = trip(33)
    add_subscriptions(sessions, 2, key_id, gone_ago="1 second")

    result = run("restore", quarantine_id)

    assert (result.exit_code, result.output.splitlines()[-1]) == (0, f"{FCM}: 35 subscriptions are active again.")
    assert counted(sessions, f"{ACTIVE} AND failure_count = 0") == 35, "also who joined since the guard looked"
    assert ends(sessions) == [("restored", 35)]


@pytest.mark.parametrize(
    ("change", "active"),
    [
        ("gone_at = NULL, enabled = true, quarantine_id = NULL, quarantined_at = NULL, updated_at = now()", 25),
        ("deleted_at = now(), updated_at = now()", 24),
        ("enabled = false, updated_at = now()", 24),
    ],
    ids=["subscribed again", "unsubscribed", "switched it off"],
)
def test_what_somebody_did_meanwhile_stays(sessions, trip, change, active):
    quarantine_id = trip()
    execute(
        sessions,
        f"UPDATE push_subscriptions SET {change} WHERE id = (SELECT min(id::text)::uuid FROM push_subscriptions)",
    )

    assert run("restore", quarantine_id).exit_code == 0

    assert counted(sessions, ACTIVE) == active
    assert counted(sessions, "quarantine_id IS NOT NULL AND deleted_at IS NULL") == 0


def test_released_ones_are_gone_like_any_other_and_can_still_be_restored(sessions, trip):
    quarantine_id = trip()

    released = run("release", quarantine_id)
    again = run("release", quarantine_id)
    after_release = ends(sessions), counted(sessions, "gone_at IS NOT NULL AND NOT enabled AND deleted_at IS NULL")
    restored = run("restore", quarantine_id)

    assert (released.exit_code, released.output) == (0, f"{FCM}: 25 subscriptions are believed gone.\n")
    assert (again.exit_code, "was released already" in again.output) == (0, True)
    assert after_release == ([("released", 25)], 25)
    assert restored.exit_code == 0
    assert (ends(sessions), counted(sessions, ACTIVE)) == ([("restored", 25)], 25)


def test_pruned_ones_are_deleted_once_it_is_confirmed(sessions, trip):
    quarantine_id = trip()

    declined = run("prune", quarantine_id, answer="n\n")
    unanswered = run("prune", quarantine_id)
    before = counted(sessions, "deleted_at IS NOT NULL")
    confirmed = run("prune", quarantine_id, answer="y\n")

    assert (declined.exit_code, unanswered.exit_code, before) == (1, 1, 0)
    assert "Delete 25 subscriptions?" in declined.output
    assert confirmed.exit_code == 0
    assert (ends(sessions), counted(sessions, "deleted_at IS NOT NULL")) == ([("pruned", 25)], 25)


def test_all_and_those_of_a_host_are_the_open_ones(sessions, trip):
    first = trip()
    run("release", first)
    trip(22, host=APPLE)
    trip(21)

    of_a_host = run("prune", "--host", APPLE, "--yes")
    all_others = run("restore", "--all")
    none = run("restore", "--all")

    assert of_a_host.output == f"{APPLE}: 22 subscriptions are deleted.\n"
    assert all_others.output == f"{FCM}: 21 subscriptions are active again.\n"
    assert (none.exit_code, none.output) == (0, "Nothing is in quarantine there.\n")
    assert ends(sessions) == [("released", 25), ("pruned", 22), ("restored", 21)]


def test_one_that_died_in_the_middle_is_simply_repeated(sessions, trip):
    quarantine_id = trip(35)
    with transaction(sessions) as session:
        some = quarantine.members(session, quarantine_id, until=datetime.now(UTC))[:10]
        quarantine.restore(session, quarantine_id, some)
    before = counted(sessions, ACTIVE), ends(sessions)

    result = run("restore", quarantine_id)

    assert before == (10, [(None, 10)])
    assert result.output == f"{FCM}: 25 subscriptions are active again.\n"
    assert (counted(sessions, ACTIVE), ends(sessions)) == (35, [("restored", 35)])


def test_release_ends_the_pause_of_who_refused_us_and_wakes_the_workers(sessions, key_id):
    refuse(sessions, key_id)
    refuse(sessions, key_id, FCM)
    listener = Listener(sessions)
    assert listener.wait(0), "it has begun to listen"

    result = run("release", "--host", APPLE)

    assert (result.exit_code, result.output) == (0, f"{APPLE}: the pause is over, it is tried again now.\n")
    assert listener.wait(60)
    listener.close()
    with transaction(sessions) as session:
        states = session.execute(
            text("SELECT endpoint_host, reason, window_tried, strikes FROM push_service_states")
        )
        assert sorted(map(tuple, states)) == [(FCM, "refused", 40, 1), (APPLE, None, 0, 0)]


def test_one_that_refuses_us_shows_until_it_accepts_something(client, sessions, key_id):
    refuse(sessions, key_id)
    execute(sessions, "UPDATE push_service_states SET paused_until = now()")

    job = DatabaseGauges()
    job.refresh(sessions)
    job.close()
    audience = client.get("/health/").json()["dependencies"]["audience"]

    samples = Samples(metrics.render()[0].decode())
    assert samples.value("push_services_paused", service="apple", reason="refused") == 1
    assert audience["status"] == "degraded"
    assert "refuses our credentials" in audience["detail"]


@pytest.mark.parametrize("verb", ["restore", "release", "prune"])
def test_where_nothing_is_held_it_says_so(sessions, trip, verb):
    trip()

    result = run(verb, "--host", APPLE)

    assert result.exit_code == 0
    assert "Nothing is in quarantine there" in result.output
    assert ends(sessions) == [(None, None)]


@pytest.mark.parametrize(
    "arguments",
    [
        ("restore",),
        ("prune", "--all", "--host", APPLE),
        ("release", new_id(), "--all"),
        ("release", new_id()),
        ("restore", "not-an-id"),
    ],
)
def test_what_names_nothing_or_contradicts_itself_is_refused(sessions, trip, arguments):
    trip()

    assert run(*arguments).exit_code == 2
    assert ends(sessions) == [(None, None)]


def test_without_tables_it_says_so(empty_database_url, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", empty_database_url)

    result = run("list")

    assert result.exit_code == 2
    assert "alembic upgrade head" in result.output
