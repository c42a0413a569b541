"""The audit finds every way in which a ledger can fail to add up, and nothing where it does."""

import pytest
from sqlalchemy import select, text

from app.db.session import transaction
from app.delivery import audit
from app.delivery.account import Rule
from app.models import DeliveryLog, DeliveryStatus
from tests.support.delivery import NOTHING_INLINE, finish_with_a_worker, send
from tests.support.ledger import add_deliveries, utc

PLANNED_AT = utc(2026, 3, 15, 12)
COUNTS = {"pending": 4, "sent": 3, "delivered": 2, "failed": 2, "expired": 1}
FINISHED = {"sent": 5, "failed": 1}


def add(sessions, counts=COUNTS):
    with transaction(sessions) as session:
        return add_deliveries(session, planned_at=PLANNED_AT, counts=counts, reason="gone")


def examine(sessions, **options):
    with audit.snapshot(sessions) as session:
        return audit.examine(session, **options)


def rules(report):
    accounts = [finding.rule for account in report.wrong for finding in account.findings]
    return {*accounts, *(stray.finding.rule for stray in report.strays)}


def break_it(sessions, statement):
    """Do what no code of ours does; without the constraints that would prevent it."""
    with transaction(sessions) as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        assert session.connection().exec_driver_sql(statement).rowcount > 0, "nothing was broken"


def test_a_ledger_without_anything_adds_up(sessions):
    report = examine(sessions)

    assert report.adds_up
    assert (report.notifications, report.planned) == (0, 0)


def test_what_adds_up_is_counted_by_status(sessions):
    add(sessions)
    add(sessions, FINISHED)

    report = examine(sessions)

    assert report.adds_up
    assert (report.notifications, report.planned) == (2, 18)
    assert report.by_status == {"pending": 4, "sent": 8, "delivered": 2, "failed": 3, "expired": 1}


def test_one_notification_can_be_looked_at_alone(sessions):
    first = add(sessions)
    add(sessions, FINISHED)
    break_it(sessions, f"DELETE FROM push_delivery_logs WHERE notification_id <> '{first}'")

    report = examine(sessions, only=first)

    assert report.adds_up
    assert (report.notifications, report.planned) == (1, 12)


NOTIFICATION = "UPDATE push_notifications SET "
BATCH = "UPDATE push_delivery_batches SET "
DELIVERY = "UPDATE push_delivery_logs SET "
BROKEN = {
    "rows are gone": ("DELETE FROM push_delivery_logs WHERE status = 'sent'", Rule.PLANNED),
    "more rows than planned": (NOTIFICATION + "planned_count = 11, targeted = 11", Rule.PLANNED),
    "targeted differs": (NOTIFICATION + "targeted = targeted + 1", Rule.TARGETED),
    "sending, targeted not said": (NOTIFICATION + "targeted = NULL", Rule.TARGETED),
    "planning, targeted said": (NOTIFICATION + "state = 'planning'", Rule.TARGETED),
    "frozen with less": (NOTIFICATION + "frozen_counts = '{\"sent\": 11}'", Rule.FROZEN),
    "pending without a batch": (
        "DELETE FROM push_delivery_batches WHERE state = 'ready'",
        Rule.PENDING_HAS_OPEN_BATCH,
    ),
    "pending in a closed batch": (BATCH + "state = 'closed'", Rule.PENDING_HAS_OPEN_BATCH),
    "a batch that misses its rows": (BATCH + "planned_at = now()", Rule.BATCH_FINDS_ITS_ROWS),
    "finished while sending": (NOTIFICATION + "finished_at = now()", Rule.FINISHED),
    "sent, not finished": (NOTIFICATION + "state = 'sent'", Rule.FINISHED),
    "sent with pending rows": (NOTIFICATION + "state = 'sent', finished_at = now()", Rule.FINISHED),
    "cancelled with pending rows": (NOTIFICATION + "state = 'cancelled', finished_at = now()", Rule.FINISHED),
    "failed without a reason": (DELIVERY + "reason = NULL WHERE status = 'failed'", Rule.REASON),
    "expired without a reason": (DELIVERY + "reason = NULL WHERE status = 'expired'", Rule.REASON),
    "rows without a notification": ("DELETE FROM push_notifications", Rule.NO_STRAYS),
    "rows in another partition": (NOTIFICATION + "accepted_at = accepted_at - interval '1 month'", Rule.NO_STRAYS),
}


@pytest.mark.parametrize(("statement", "rule"), BROKEN.values(), ids=BROKEN.keys())
def test_what_does_not_add_up_is_found(sessions, statement, rule):
    add(sessions)
    assert examine(sessions).adds_up

    break_it(sessions, statement)

    report = examine(sessions)
    assert not report.adds_up
    assert rule in rules(report)


def test_a_status_that_does_not_exist_is_found(sessions):
    add(sessions)
    with transaction(sessions) as session:
        session.execute(text("ALTER TABLE push_delivery_logs DROP CONSTRAINT ck_push_delivery_logs_status"))
    break_it(sessions, "UPDATE push_delivery_logs SET status = 'lost' WHERE status = 'sent'")

    report = examine(sessions)

    assert [finding.text for finding in report.wrong[0].findings] == [
        "3 deliveries have a status that does not exist"
    ]


def test_rows_in_the_batch_of_another_notification_are_found(sessions):
    first, second = add(sessions), add(sessions)
    break_it(
        sessions,
        "UPDATE push_delivery_logs SET batch_id = (SELECT id FROM push_delivery_batches"
        f" WHERE notification_id = '{second}') WHERE notification_id = '{first}' AND status = 'failed'",
    )

    report = examine(sessions)

    [account] = report.wrong
    assert account.facts.notification_id == first
    assert [finding.rule for finding in account.findings] == [Rule.BATCH_IS_ITS_OWN]


BATCH_COUNTS = {
    "other counts": "sent_count = 4, delivered_count = 0, failed_count = 2, expired_count = 0",
    "one status for another": "sent_count = 1, delivered_count = 0, failed_count = 5, expired_count = 0",
}


@pytest.mark.parametrize("counts", BATCH_COUNTS.values(), ids=BATCH_COUNTS.keys())
def test_a_batch_that_was_closed_with_other_counts_than_its_rows_is_found(sessions, counts):
    add(sessions, FINISHED)
    break_it(sessions, BATCH + "sent_count = 5, delivered_count = 0, failed_count = 1, expired_count = 0")
    before = examine(sessions)

    break_it(sessions, BATCH + counts)

    assert before.adds_up
    assert rules(examine(sessions)) == {Rule.BATCH_COUNTS_ITS_ROWS}


def test_a_batch_with_counts_that_has_lost_its_rows_to_another_is_found(sessions):
    add(sessions, FINISHED)
    break_it(
        sessions,
        "WITH other AS (INSERT INTO push_delivery_batches (id, tenant_id, notification_id, planned_at,"
        " endpoint_host, vapid_key_id, size, state, not_before, sent_count, delivered_count, failed_count,"
        " expired_count) SELECT gen_random_uuid(), tenant_id, notification_id, planned_at, endpoint_host,"
        " vapid_key_id, size, 'closed', now(), 5, 0, 1, 0 FROM push_delivery_batches RETURNING id)"
        " SELECT * FROM other",
    )

    assert rules(examine(sessions)) == {Rule.BATCH_COUNTS_ITS_ROWS}


@pytest.mark.parametrize("state", ["ready", "leased"])
def test_a_finished_notification_with_an_open_batch_is_found(sessions, state):
    add(sessions, FINISHED)
    token = "gen_random_uuid()" if state == "leased" else "NULL"

    break_it(sessions, f"UPDATE push_delivery_batches SET state = '{state}', lease_token = {token}")

    assert rules(examine(sessions)) == {Rule.FINISHED}


@pytest.mark.parametrize("state", ["sending", "cancelled"])
def test_a_notification_that_nobody_will_finish_is_found(sessions, state):
    add(sessions, FINISHED)

    break_it(sessions, f"UPDATE push_notifications SET state = '{state}', finished_at = NULL")

    assert rules(examine(sessions)) == {Rule.FINISHED}


def test_frozen_counts_stand_for_rows_that_retention_dropped(sessions):
    add(sessions, FINISHED)
    break_it(sessions, 'UPDATE push_notifications SET frozen_counts = \'{"sent": 5, "failed": 1}\'')
    before = examine(sessions)
    break_it(sessions, "DELETE FROM push_delivery_logs")

    after = examine(sessions)

    assert before.adds_up
    assert after.adds_up
    assert after.by_status == before.by_status
    assert (after.by_status[DeliveryStatus.SENT], after.by_status[DeliveryStatus.FAILED]) == (5, 1)


def test_frozen_counts_stand_for_rows_that_retention_is_just_dropping(sessions):
    add(sessions, FINISHED)
    break_it(sessions, 'UPDATE push_notifications SET frozen_counts = \'{"sent": 5, "failed": 1}\'')
    break_it(sessions, "DELETE FROM push_delivery_batches")
    break_it(sessions, "DELETE FROM push_delivery_logs WHERE status = 'failed'")

    assert examine(sessions).adds_up


def test_frozen_counts_beside_more_rows_than_they_are_of_are_found(sessions):
    add(sessions, FINISHED)
    break_it(
        sessions, "UPDATE push_notifications SET planned_count = 5, targeted = 5, frozen_counts = '{\"sent\": 5}'"
    )

    assert rules(examine(sessions)) == {Rule.FROZEN}


def test_what_is_wrong_is_told_however_old_it_is(sessions):
    oldest = add(sessions, FINISHED)
    break_it(sessions, "DELETE FROM push_delivery_logs WHERE status = 'failed'")
    newest = [add(sessions, FINISHED) for _ in range(3)]

    report = examine(sessions, listed=2)

    assert [account.facts.notification_id for account in report.newest] == newest[:0:-1]
    assert [account.facts.notification_id for account in report.wrong] == [oldest]


def test_a_large_ledger_is_read_page_by_page(sessions, monkeypatch):
    monkeypatch.setattr(audit, "PAGE_NOTIFICATIONS", 3)
    monkeypatch.setattr(audit, "PAGE_ROWS", 7)
    for _ in range(5):
        add(sessions, FINISHED)
    add(sessions)
    told = []

    report = examine(sessions, tell=lambda done, total: told.append((done, total)))

    assert report.adds_up
    assert (report.notifications, report.planned) == (6, 42)
    assert told == [(done, 42) for done in (12, 18, 24, 30, 36, 42)]


def test_it_is_as_of_one_moment_whatever_workers_do_meanwhile(pipeline, subscribe, monkeypatch):
    monkeypatch.setattr(audit, "PAGE_NOTIFICATIONS", 1)
    subscribe(5)
    for _ in range(2):
        send(pipeline, limits=NOTHING_INLINE)

    def work_meanwhile(done, total):
        finish_with_a_worker(pipeline)

    with audit.snapshot(pipeline.sessions) as session:
        report = audit.examine(session, tell=work_meanwhile)
    after = examine(pipeline.sessions)

    assert report.adds_up
    assert report.planned == 0, "nothing was planned when it began"
    assert after.adds_up
    assert (after.planned, after.by_status[DeliveryStatus.SENT]) == (10, 10)


def test_it_cannot_write_and_does_not_give_up_after_the_usual_time(sessions):
    with audit.snapshot(sessions) as session:
        names = ("transaction_isolation", "transaction_read_only", "statement_timeout")
        settings = [session.scalar(text(f"SHOW {name}")) for name in names]

    assert settings == ["repeatable read", "on", "0"]


def test_the_connection_it_used_can_write_again(sessions):
    with audit.snapshot(sessions):
        pass

    add(sessions)

    with transaction(sessions) as session:
        assert len(session.scalars(select(DeliveryLog)).all()) == 12
