"""Workers that get in each other's way: the same batch for two, clocks that are wrong, leases that run out."""

import time

from tests.drill.service import Service

WORKERS = 2
HOUR = 3600
TTL_SECONDS = 1800
SHORT_LEASES = ["tests.drill.worker", "--lease", "5"]  # seconds; a post that hangs is given up after 15

JUMPING_CLOCKS = ["tests.drill.worker", "--jump", str(HOUR), "--jump-while"]

TRIED_IN_VAIN = "SELECT count(*) FROM push_delivery_logs WHERE status = 'pending' AND attempts > 0"
MAKE_SOME_TOO_LATE = """
    WITH late AS (
        UPDATE push_delivery_logs SET deadline = now() - interval '1 second'
        WHERE subscription_id IN (SELECT subscription_id FROM push_delivery_logs ORDER BY id LIMIT :count)
        RETURNING 1
    )
    SELECT count(*) FROM late
"""


def test_two_workers_given_the_same_batches(service: Service) -> None:
    api = service.start_api()
    answer = service.broadcast(api)
    batch_ids = service.plan(answer.json()["notification_id"])
    service.random.shuffle(batch_ids)

    ended = service.run("tests.drill.rivals", str(WORKERS), stdin="\n".join(map(str, batch_ids)))

    assert ended.returncode == 0, ended.stderr[-5000:]
    service.say(f"{WORKERS} processes ran each of {len(batch_ids)} batches at the same moment")
    assert service.account().by_status == {"sent": service.recipients}


def test_workers_whose_clocks_are_an_hour_off(service: Service) -> None:
    api = service.start_api()
    began = time.monotonic()
    answer = service.broadcast(api, ttl=TTL_SECONDS)
    service.plan(answer.json()["notification_id"])
    late = service.scalar(MAKE_SOME_TOO_LATE, count=service.recipients // 20)
    # Fewer than half at once: it is not to be left alone.
    slowed = {"action": "answer", "status": 503, "retry_after": 2, "every": 5}
    service.push_service.misbehaves(**slowed, times=service.recipients // 10)

    for clock in (HOUR, -HOUR, 0):
        service.start_worker(command=["tests.drill.worker", "--clock", str(clock)])
    service.until_finished()

    elapsed = time.monotonic() - began
    arrivals = service.arrivals()
    shortest = min(arrival.shortest_ttl or 0 for arrival in arrivals)
    longest = max(arrival.longest_ttl or 0 for arrival in arrivals)
    service.say(
        f"TTL {TTL_SECONDS}: posted with {shortest} to {longest} seconds, {late:,} too late were not posted"
    )
    result = service.account()
    assert result.by_status == {"sent": service.recipients - late, "expired": late}
    assert result.by_reason == {"deadline": late}
    assert len(arrivals) == service.recipients - late
    assert TTL_SECONDS - elapsed - 1 <= shortest <= longest <= TTL_SECONDS


def test_a_worker_whose_clocks_jump_by_an_hour(service: Service) -> None:
    api = service.start_api()
    ahead = service.directory / "the-clocks-are-ahead"
    worker = service.start_worker(command=[*JUMPING_CLOCKS, str(ahead)])
    slowed = {"action": "answer", "status": 503, "retry_after": 1, "every": 20}
    service.push_service.misbehaves(**slowed, times=service.recipients // 20)
    assert service.broadcast(api, ttl=TTL_SECONDS).status_code == 202
    first = service.somewhere(0.1, 0.4)
    second = first + service.somewhere(0.1, 0.4)

    service.until_accepted(first)
    ahead.touch()
    in_flight = service.claims.note()
    service.until_accepted(second)
    ahead.unlink()
    service.until_finished()

    service.say(f"its clocks jumped after {first:,} messages, {in_flight:,} in flight, and back after {second:,}")
    assert worker.is_alive, "the only one, all the time"
    # Those that wait for an answer then wait for an hour, it seems: they are given up, and sent again.
    assert service.account(somebody_died=True).by_status == {"sent": service.recipients}


def test_a_push_service_that_hangs_longer_than_a_lease(service: Service) -> None:
    api = service.start_api()
    healthy, hanging, _ = service.push_service.hosts
    service.push_service.misbehaves(action="hang", host=hanging)
    for _ in range(WORKERS):
        service.start_worker(command=SHORT_LEASES)
    assert service.broadcast(api).status_code == 202

    service.until_accepted(1)
    service.until(lambda: service.pending(healthy) == 0, "the healthy service is through")
    waiting = service.pending(hanging)
    service.say(f"all at the healthy push service are through; {waiting:,} wait for the one that hangs")
    service.until(lambda: service.scalar(TRIED_IN_VAIN) > 0, "posts were given up, which takes several leases")
    service.push_service.behaves()
    service.until_finished()

    # The leases were renewed while nothing came: nobody took a batch over, so nobody got anything twice.
    assert waiting > 0
    assert service.account().by_status == {"sent": service.recipients}


def test_a_worker_that_sleeps_through_its_lease(service: Service) -> None:
    api = service.start_api()
    sleeper = service.start_worker(command=SHORT_LEASES)
    assert service.broadcast(api).status_code == 202
    service.until_accepted(service.somewhere(0.05, 0.6))

    with sleeper.asleep():
        in_flight = service.claims.note()
        service.start_worker(command=SHORT_LEASES)
        service.until_finished()
    service.say(f"put to sleep with {in_flight:,} claimed and not recorded, and woken when another had sent all")
    sleeper.stop()

    # What it was about to post when it fell asleep is posted when it wakes: before it can know that it lost them.
    result = service.account(somebody_died=True, may_be_late=True)
    assert result.by_status == {"sent": service.recipients}
