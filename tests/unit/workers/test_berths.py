"""Who runs next: every push service finds room, whatever the others do."""

from collections import Counter
from uuid import UUID

from app.delivery.lanes import Lane, OpenLane
from app.workers.berths import Berths

FCM = "fcm.googleapis.com"
MOZILLA = "updates.push.services.mozilla.com"
BERTHS = 32


def open_lane(host, *, position=0, strikes=0, tenant=1):
    return OpenLane(Lane(UUID(int=tenant), host, UUID(int=7)), position, strikes)


def wns(number, **options):
    return open_lane(f"dm{number}p.notify.windows.com", **options)


def berths(count=BERTHS, *, answering=()):
    return Berths(count, has_answered=lambda host: host in answering)


def fill(berths, lanes):
    """Let runners come until nobody finds anything; return how many run for each host."""
    running: Counter[str] = Counter()
    while (chosen := berths.enter(lanes)) is not None:
        running[chosen.lane.endpoint_host] += 1
    return running


def test_a_host_gets_one_berth_and_a_second_once_it_has_answered():
    lanes = [open_lane(FCM), open_lane(MOZILLA)]

    assert fill(berths(answering={FCM}), lanes) == {FCM: 2, MOZILLA: 1}


def test_tenants_share_the_berths_of_a_host():
    lanes = [open_lane(FCM, tenant=number) for number in range(9)]

    assert fill(berths(answering={FCM}), lanes) == {FCM: 2}


def test_a_host_in_trouble_gets_one_berth():
    assert fill(berths(answering={FCM}), [open_lane(FCM, strikes=1)]) == {FCM: 1}


def test_thirty_hosts_of_one_service_that_hang_leave_room_for_the_others():
    hanging = [wns(number) for number in range(30)]
    everywhere = berths(answering={lane.lane.endpoint_host for lane in hanging})

    taken = fill(everywhere, hanging)
    others = fill(everywhere, [*hanging, open_lane(FCM), open_lane(MOZILLA)])

    assert taken.total() == BERTHS // 2
    assert others == {FCM: 1, MOZILLA: 1}


def test_thirty_hosts_that_are_probed_leave_room_for_the_well_ones_of_their_service():
    troubled = [wns(number, strikes=3) for number in range(30)]
    somewhere = berths()

    taken = fill(somewhere, troubled)
    others = fill(somewhere, [*troubled, wns(31), wns(32)])

    assert taken.total() == BERTHS // 4
    assert others.total() == 2


def test_the_host_with_the_least_to_do_is_first():
    two = berths(2, answering={FCM, MOZILLA})
    lanes = [open_lane(FCM), open_lane(MOZILLA, position=9)]

    assert [two.enter(lanes), two.enter(lanes)] == lanes


def test_of_a_hosts_lanes_the_one_that_has_got_least_is_first():
    first, later = open_lane(FCM, position=3, tenant=2), open_lane(FCM, position=700, tenant=1)

    assert berths().enter([later, first]) == first


def test_hosts_take_turns():
    one = berths(1)
    lanes = [wns(number) for number in range(3)]
    order = []
    for _ in range(6):
        chosen = one.enter(lanes)
        order.append(chosen)
        one.leave(chosen)

    assert order == lanes * 2


def test_tenants_take_turns_at_a_host_that_always_has_work_for_each():
    one = berths(1)
    lanes = [open_lane(FCM, tenant=number) for number in (1, 2)]
    order = []
    for _ in range(4):
        chosen = one.enter(lanes)
        order.append(chosen)
        one.leave(chosen)

    assert order == lanes * 2


def test_who_leaves_makes_room():
    some = berths()
    chosen = some.enter([open_lane(FCM, strikes=2)])
    assert (some.taken, some.have_room_for([open_lane(FCM)])) == (1, False)

    some.leave(chosen)

    assert (some.taken, some.have_room_for([open_lane(FCM)])) == (0, True)
    assert not some.have_room_for([])
