"""Which lanes are open, what is claimed in them, and how all processes wait and slow down together."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select, text, update

from app.db.session import transaction
from app.delivery import service_states
from app.delivery.lanes import Lane, is_draining, open_lanes
from app.delivery.lease import lease_batch, lease_next
from app.delivery.pace import Pause, PauseReason, Turn
from app.ids import new_id
from app.models import (
    DEFAULT_TENANT_ID,
    BatchState,
    DeliveryBatch,
    Drain,
    NotificationState,
    ServiceState,
    VapidKey,
)
from tests.support.delivery import is_somebody_waiting
from tests.support.ledger import FCM, MOZILLA, add_notification, add_tenant
from tests.support.waiting import until

LATER = timedelta(minutes=10)
LONG_TURN, LONG_TURN_SECONDS = Turn(3000, 10.0), 300.0

ROWS_READ = """
    SELECT (seq_tup_read + idx_tup_fetch)::int FROM pg_stat_xact_user_tables
    WHERE relname = 'push_delivery_batches'
"""


@pytest.fixture
def lane(sessions):
    """Return the lane of a host, and of a tenant with a key of its own: `lane(FCM)`."""
    keys = {}

    def lane_of(host, tenant_id=DEFAULT_TENANT_ID):
        if tenant_id not in keys:
            with transaction(sessions) as session:
                keys[tenant_id] = new_id()
                session.add(
                    VapidKey(
                        id=keys[tenant_id],
                        tenant_id=tenant_id,
                        public_key=str(tenant_id),
                        private_key_sealed=b"none",
                        is_active=False,
                    )
                )
        return Lane(tenant_id, host, keys[tenant_id])

    return lane_of


@pytest.fixture
def add_batch(sessions):
    """Store a batch of a new notification, due now unless the columns say otherwise; return its id."""

    def add(lane, **columns):
        with transaction(sessions) as session:
            notification_id = add_notification(session, lane.tenant_id, state=NotificationState.SENDING)
            batch = {
                "id": new_id(),
                "notification_id": notification_id,
                "planned_at": func.now(),
                "size": 1,
                "state": BatchState.READY,
                "not_before": func.now(),
                **lane._asdict(),
                **columns,
            }
            session.execute(insert(DeliveryBatch).values(batch))
            return batch["id"]

    return add


def shown(sessions, **options):
    """The open lanes and their first positions."""
    with transaction(sessions) as session:
        return {open_lane.lane: open_lane.position for open_lane in open_lanes(session, **options)}


def pause(sessions, lane, *, seconds=60.0, slow_to=None):
    with transaction(sessions) as session:
        service_states.pause(session, lane, Pause(PauseReason.TROUBLED, seconds, slow_to))


def reserve(sessions, lane, turn, *, is_capped=True):
    with transaction(sessions) as session:
        return service_states.reserve(session, lane, turn, is_capped=is_capped)


def state_of(sessions, lane):
    with transaction(sessions) as session:
        return session.get_one(ServiceState, tuple(lane))


def let_it_be_past(sessions):
    """As if ten minutes had gone by for every lane."""
    with transaction(sessions) as session:
        session.execute(
            update(ServiceState).values(
                paused_until=ServiceState.paused_until - LATER,
                slowed_at=ServiceState.slowed_at - LATER,
                next_slot_at=ServiceState.next_slot_at - LATER,
            )
        )


def test_a_lane_with_a_batch_due_is_open(sessions, lane, add_batch):
    other_tenant = lane(FCM, tenant_of(sessions))
    add_batch(lane(FCM), position=2)
    add_batch(lane(FCM), position=1)
    add_batch(lane(MOZILLA), position=5)
    add_batch(other_tenant)

    assert shown(sessions) == {lane(FCM): 1, lane(MOZILLA): 5, other_tenant: 0}


def tenant_of(sessions):
    with transaction(sessions) as session:
        return add_tenant(session, "other")


@pytest.mark.parametrize(
    "columns",
    [
        {"not_before": func.now() + LATER},
        {"state": BatchState.LEASED, "lease_token": new_id(), "leased_until": func.now() + LATER},
        {"state": BatchState.CLOSED},
    ],
    ids=["not due", "leased", "closed"],
)
def test_one_with_nothing_to_run_now_is_not(sessions, lane, add_batch, columns):
    add_batch(lane(FCM), **columns)
    add_batch(lane(MOZILLA))

    assert shown(sessions) == {lane(MOZILLA): 0}


def test_what_a_dead_worker_held_is_free_again(sessions, lane, add_batch):
    dead = add_batch(
        lane(FCM), state=BatchState.LEASED, lease_token=new_id(), leased_until=func.now() - timedelta(seconds=1)
    )

    assert shown(sessions) == {lane(FCM): 0}
    with transaction(sessions) as session:
        lease = lease_next(session, lane(FCM))
        assert lease is not None
        assert lease.batch_id == dead


def test_a_paused_lane_is_closed_to_everybody_until_the_time_is_over(sessions, lane, add_batch):
    batch_id = add_batch(lane(FCM))
    add_batch(lane(MOZILLA))

    pause(sessions, lane(FCM))

    assert shown(sessions) == {lane(MOZILLA): 0}
    with transaction(sessions) as session:
        assert lease_next(session, lane(FCM)) is None
        assert lease_batch(session, batch_id) is None
    let_it_be_past(sessions)
    assert shown(sessions) == {lane(FCM): 0, lane(MOZILLA): 0}
    with transaction(sessions) as session:
        lease = lease_batch(session, batch_id)
        assert lease is not None
        assert lease.condition.is_probe


def test_while_draining_nothing_is_open_and_nothing_claimed(sessions, lane, add_batch):
    batch_id = add_batch(lane(FCM))

    with transaction(sessions) as session:
        session.add(Drain())

    assert shown(sessions) == {}
    with transaction(sessions) as session:
        assert is_draining(session)
        assert lease_next(session, lane(FCM)) is None
        assert lease_batch(session, batch_id) is None


def test_notifications_share_a_lane_batch_by_batch(sessions, lane, add_batch):
    large = [add_batch(lane(FCM), position=number) for number in range(3)]
    small = add_batch(lane(FCM), position=0)

    claimed = []
    with transaction(sessions) as session:
        while (lease := lease_next(session, lane(FCM))) is not None:
            claimed.append(lease.batch_id)

    assert claimed == [large[0], small, *large[1:]]


def test_workers_that_claim_at_once_get_different_batches(sessions, lane, add_batch):
    batch_ids = {add_batch(lane(FCM)) for _ in range(2)}

    with transaction(sessions) as one, transaction(sessions) as another:
        claimed = [lease_next(one, lane(FCM)), lease_next(another, lane(FCM)), lease_next(another, lane(FCM))]

    assert {lease.batch_id for lease in claimed if lease} == batch_ids
    assert claimed[2] is None


def test_a_pause_is_never_shortened_and_said_twice_is_one_strike(sessions, lane):
    pause(sessions, lane(FCM), seconds=600, slow_to=100.0)
    first = state_of(sessions, lane(FCM))

    pause(sessions, lane(FCM), seconds=5, slow_to=50.0)

    again = state_of(sessions, lane(FCM))
    assert again.paused_until == first.paused_until
    assert (again.strikes, again.slowed_to) == (1, 100.0)


def test_a_pause_after_a_pause_is_another_strike(sessions, lane):
    pause(sessions, lane(FCM), slow_to=100.0)
    let_it_be_past(sessions)

    pause(sessions, lane(FCM))

    again = state_of(sessions, lane(FCM))
    assert (again.strikes, again.slowed_to, again.reason) == (2, 100.0, "troubled")


def test_a_lane_that_is_well_again_forgets_its_strikes_and_not_how_fast_it_may_go(sessions, lane):
    pause(sessions, lane(FCM), slow_to=100.0)
    with transaction(sessions) as session:
        too_early = service_states.recover(session, lane(FCM))
    let_it_be_past(sessions)

    with transaction(sessions) as session:
        is_recovered = service_states.recover(session, lane(FCM))

    assert (too_early, is_recovered) == (False, True)
    state = state_of(sessions, lane(FCM))
    assert (state.strikes, state.reason, state.paused_until, state.slowed_to) == (0, None, None, 100.0)


def test_while_a_hosts_pace_is_taken_all_its_lanes_are_closed(sessions, lane, add_batch):
    other_tenant = lane(FCM, tenant_of(sessions))
    for each in (lane(FCM), other_tenant, lane(MOZILLA)):
        add_batch(each)

    slots = [reserve(sessions, each, LONG_TURN) for each in (lane(FCM), other_tenant, lane(FCM))]

    assert slots[0] is not None
    assert slots[0].begins_in_seconds == 0
    assert slots[1:] == [None, None]
    assert shown(sessions, is_capped=True) == {lane(MOZILLA): 0}
    let_it_be_past(sessions)
    assert len(shown(sessions, is_capped=True)) == 3


def test_turns_of_a_host_follow_each_other_whoever_takes_them(sessions, lane, monkeypatch):
    monkeypatch.setattr(service_states, "EARLY_SECONDS", 3600.0)
    lanes = [lane(FCM), lane(FCM, tenant_of(sessions)), lane(FCM)]

    slots = [reserve(sessions, each, LONG_TURN) for each in lanes]

    begins = [slot.begins_in_seconds for slot in slots if slot]
    assert begins[0] == 0
    assert LONG_TURN_SECONDS / 2 < begins[1] <= LONG_TURN_SECONDS
    assert begins[2] - begins[1] > LONG_TURN_SECONDS / 2


def test_who_reserves_at_the_same_time_waits_and_sees_it(sessions, lane):
    with ThreadPoolExecutor(1) as thread, transaction(sessions) as session:
        first = service_states.reserve(session, lane(FCM), LONG_TURN, is_capped=True)
        second = thread.submit(reserve, sessions, lane(FCM, tenant_of(sessions)), LONG_TURN)
        until(lambda: is_somebody_waiting(sessions))
        session.commit()

        assert first is not None
        assert second.result() is None


def test_what_is_reserved_lasts_as_long_as_the_rate_says(sessions, lane):
    with transaction(sessions) as session:
        service_states.reserve(session, lane(FCM), LONG_TURN, is_capped=True)
        state = session.get_one(ServiceState, tuple(lane(FCM)))
        takes = state.next_slot_at - session.scalars(select(func.clock_timestamp())).one()

    assert LONG_TURN_SECONDS / 2 < takes.total_seconds() <= LONG_TURN_SECONDS


def test_a_slowed_lane_does_not_slow_those_beside_it(sessions, lane, add_batch):
    slowed, beside = lane(FCM), lane(FCM, tenant_of(sessions))
    add_batch(slowed)
    add_batch(beside)

    reserve(sessions, slowed, LONG_TURN, is_capped=False)

    assert shown(sessions) == {beside: 0}
    assert reserve(sessions, slowed, LONG_TURN, is_capped=False) is None
    assert reserve(sessions, beside, LONG_TURN, is_capped=False) is not None


def test_time_that_was_not_needed_is_given_back(sessions, lane):
    slot = reserve(sessions, lane(FCM), LONG_TURN)
    before = state_of(sessions, lane(FCM)).next_slot_at

    with transaction(sessions) as session:
        service_states.give_back(session, lane(FCM), LONG_TURN, slot, unused=400)

    assert before - state_of(sessions, lane(FCM)).next_slot_at == timedelta(seconds=40)


def test_time_before_what_others_have_reserved_is_not(sessions, lane, monkeypatch):
    monkeypatch.setattr(service_states, "EARLY_SECONDS", 3600.0)
    slot = reserve(sessions, lane(FCM), LONG_TURN)
    reserve(sessions, lane(FCM), LONG_TURN)
    before = state_of(sessions, lane(FCM)).next_slot_at

    with transaction(sessions) as session:
        service_states.give_back(session, lane(FCM), LONG_TURN, slot, unused=400)

    assert state_of(sessions, lane(FCM)).next_slot_at == before


def test_lanes_are_found_by_their_index_however_long_they_are(sessions, lane, add_batch):
    batch_id = add_batch(lane(FCM))
    with transaction(sessions) as session:
        session.execute(
            text(
                "INSERT INTO push_delivery_batches (id, tenant_id, notification_id, planned_at, endpoint_host,"
                " vapid_key_id, size, position, state, not_before)"
                " SELECT gen_random_uuid(), tenant_id, notification_id, planned_at, endpoint_host, vapid_key_id,"
                " size, number, state, not_before FROM push_delivery_batches, generate_series(1, 3000) AS number"
                " WHERE id = :id"
            ),
            {"id": batch_id},
        )
    with transaction(sessions) as session:
        before = session.scalar(text(ROWS_READ))

        assert len(open_lanes(session)) == 1
        assert lease_next(session, lane(FCM)) is not None

        assert session.scalar(text(ROWS_READ)) - before < 20
