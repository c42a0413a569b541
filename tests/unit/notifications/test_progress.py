"""How fast a notification goes, and how long it may still take, from what its batches say."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.db.session import SessionFactory, database_now, transaction
from app.delivery.closing import close_held
from app.delivery.lease import lease_batch
from app.models import BatchState, DeliveryBatch, DeliveryLog, DeliveryStatus, Notification, NotificationState
from app.notifications.progress import Progress, progress_of
from tests.support.ledger import BATCH_SIZE, add_deliveries, add_notification

SENT_OF_EACH = {"sent_count": BATCH_SIZE, "delivered_count": 0, "failed_count": 0, "expired_count": 0}


@pytest.fixture
def session(sessions: SessionFactory) -> Iterator[Session]:
    """One transaction for all of a test: its now() stands still."""
    with transaction(sessions) as session:
        yield session


@pytest.fixture
def notification_id(session: Session) -> UUID:
    """Of 2,000 recipients in four batches, none of which was begun, accepted an hour ago."""
    an_hour_ago = database_now(session) - timedelta(hours=1)
    return add_deliveries(session, planned_at=an_hour_ago, counts={"pending": 4 * BATCH_SIZE})


def batches(session: Session) -> list[UUID]:
    return list(session.scalars(select(DeliveryBatch.id).order_by(DeliveryBatch.id)))


def close(session: Session, batch_id: UUID, *, claimed_ago: float, closed_ago: float) -> None:
    """Let a batch have been sent to all, evenly between so many seconds ago and so many."""
    settle(session, batch_id, BATCH_SIZE, between=(claimed_ago, closed_ago))
    session.execute(
        update(DeliveryBatch)
        .where(DeliveryBatch.id == batch_id)
        .values(
            state=BatchState.CLOSED,
            claimed_at=func.now() - timedelta(seconds=claimed_ago),
            closed_at=func.now() - timedelta(seconds=closed_ago),
            **SENT_OF_EACH,
        )
    )


def settle(session: Session, batch_id: UUID, count: int, *, between: tuple[float, float]) -> None:
    """Let so many of a batch have been sent to, evenly between so many seconds ago and so many."""
    first, last = between
    numbered = (
        select(DeliveryLog.subscription_id, func.row_number().over().label("number"))
        .where(DeliveryLog.batch_id == batch_id, DeliveryLog.status == DeliveryStatus.PENDING)
        .limit(count)
        .subquery()
    )
    seconds_ago = first + (last - first) * numbered.c.number / count
    session.execute(
        update(DeliveryLog)
        .where(DeliveryLog.subscription_id == numbered.c.subscription_id)
        .values(status=DeliveryStatus.SENT, sent_at=func.now() - seconds_ago * timedelta(seconds=1)),
        execution_options={"synchronize_session": False},
    )


def lease(session: Session, batch_id: UUID, *, claimed_ago: float, sent: int) -> None:
    """Let a batch have been claimed so many seconds ago, and so many of it been sent evenly since then."""
    settle(session, batch_id, sent, between=(claimed_ago, 0))
    session.execute(
        update(DeliveryBatch)
        .where(DeliveryBatch.id == batch_id)
        .values(
            state=BatchState.LEASED,
            lease_token=batch_id,
            leased_until=func.now() + timedelta(minutes=1),
            claimed_at=func.now() - timedelta(seconds=claimed_ago),
        )
    )


def give_back(session: Session, batch_id: UUID) -> None:
    """Let nobody have a batch for now."""
    session.execute(
        update(DeliveryBatch)
        .where(DeliveryBatch.id == batch_id)
        .values(state=BatchState.READY, lease_token=None, leased_until=None)
    )


def look(session: Session, notification_id: UUID) -> Progress:
    session.expire_all()
    return progress_of(session, [session.get_one(Notification, notification_id)])[notification_id]


def test_before_anything_is_sent_neither_rate_nor_end_is_known(session: Session, notification_id: UUID) -> None:
    progress = look(session, notification_id)

    assert (progress.rate_per_second, progress.seconds_left) == (None, None)
    assert progress.counts == {"pending": 2000}
    assert not progress.is_over


def test_the_rate_is_that_of_the_last_ten_seconds(session: Session, notification_id: UUID) -> None:
    first, second, third, _ = batches(session)
    close(session, first, claimed_ago=1000, closed_ago=900)
    close(session, second, claimed_ago=8, closed_ago=5)
    close(session, third, claimed_ago=5, closed_ago=1)

    progress = look(session, notification_id)

    assert progress.rate_per_second == 100
    assert progress.seconds_left == 5


def test_of_a_batch_that_began_before_only_its_share_counts(session: Session, notification_id: UUID) -> None:
    first, *_ = batches(session)
    close(session, first, claimed_ago=100, closed_ago=0)

    progress = look(session, notification_id)

    assert progress.rate_per_second == 5


def test_a_batch_that_is_being_sent_counts_with_what_of_it_is_settled(
    session: Session, notification_id: UUID
) -> None:
    first, *_ = batches(session)
    lease(session, first, claimed_ago=100, sent=400)

    progress = look(session, notification_id)

    assert progress.rate_per_second == 4
    assert progress.counts == {"pending": 1600, "sent": 400}
    assert progress.seconds_left == 400


def test_a_batch_that_is_sent_in_several_turns_counts_with_what_of_it_was_sent_lately(
    session: Session, notification_id: UUID
) -> None:
    """One that a push service's pace allows a hundred of at a time; between two turns nobody has it."""
    first, *_ = batches(session)
    lease(session, first, claimed_ago=40, sent=400)
    give_back(session, first)
    between_turns = look(session, notification_id)
    held = lease_batch(session, first)
    assert held is not None
    in_the_next_turn = look(session, notification_id)
    settle(session, first, 100, between=(0, 0))
    close_held(session, first, held.lease_token, planned_at=held.planned_at)
    closed = look(session, notification_id)

    assert between_turns.rate_per_second == in_the_next_turn.rate_per_second == 10
    assert closed.rate_per_second == 20


def test_one_that_has_only_begun_is_told_by_its_own_time(session: Session, notification_id: UUID) -> None:
    first, *_ = batches(session)
    close(session, first, claimed_ago=5, closed_ago=4)

    progress = look(session, notification_id)

    assert progress.rate_per_second == 100


def test_what_was_sent_long_ago_says_nothing_of_now(session: Session, notification_id: UUID) -> None:
    first, *_ = batches(session)
    close(session, first, claimed_ago=1000, closed_ago=990)

    progress = look(session, notification_id)

    assert (progress.rate_per_second, progress.seconds_left) == (None, None)


def test_while_all_that_is_left_waits_for_its_next_try_the_end_is_not_known(
    session: Session, notification_id: UUID
) -> None:
    first, *_ = batches(session)
    close(session, first, claimed_ago=5, closed_ago=0)
    session.execute(
        update(DeliveryBatch)
        .where(DeliveryBatch.state == BatchState.READY)
        .values(not_before=func.now() + timedelta(minutes=1))
    )

    progress = look(session, notification_id)

    assert progress.rate_per_second == 100
    assert progress.seconds_left is None


def test_a_batch_closed_without_counts_is_taken_for_settled(session: Session, notification_id: UUID) -> None:
    first, *_ = batches(session)
    close(session, first, claimed_ago=10, closed_ago=0)
    session.execute(update(DeliveryBatch).values(dict.fromkeys(SENT_OF_EACH)))

    progress = look(session, notification_id)

    assert progress.rate_per_second == 50


def test_while_it_is_planned_the_end_is_not_known(session: Session, notification_id: UUID) -> None:
    first, *_ = batches(session)
    close(session, first, claimed_ago=5, closed_ago=0)
    session.execute(update(Notification).values(state=NotificationState.PLANNING, targeted=None))

    progress = look(session, notification_id)

    assert progress.rate_per_second is not None
    assert progress.seconds_left is None


@pytest.mark.parametrize("state", [NotificationState.CANCELLED, NotificationState.SENT])
def test_what_does_not_run_has_no_pace(session: Session, notification_id: UUID, state: NotificationState) -> None:
    first, *_ = batches(session)
    close(session, first, claimed_ago=5, closed_ago=0)
    session.execute(update(Notification).values(state=state, finished_at=func.now()))

    progress = look(session, notification_id)

    assert (progress.rate_per_second, progress.seconds_left) == (None, None)
    assert progress.is_over


def test_each_of_several_is_told_apart(session: Session, notification_id: UUID) -> None:
    first, *_ = batches(session)
    close(session, first, claimed_ago=5, closed_ago=0)
    other = add_notification(session, state=NotificationState.PLANNING)
    rows = [session.get_one(Notification, each) for each in (notification_id, other)]
    told = progress_of(session, rows)

    assert told[notification_id].rate_per_second is not None
    assert told[other].shown().model_dump(exclude={"id"}) == {
        **dict.fromkeys(("pending", "sent", "delivered", "failed", "expired"), 0),
        **dict.fromkeys(("rate_per_second", "seconds_left", "targeted", "finished_at")),
        "status": "planning",
    }
