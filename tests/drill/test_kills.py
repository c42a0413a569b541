"""kill -9 in the middle of 20,000 deliveries, ten times over, at random moments: nobody is lost.

A worker is killed twice in each of five broadcasts, the API once in each of ten sends. What comes twice is at most
what was in flight, claimed and not recorded. The leases of the dead are waited for once, at the end.
"""

import time

from tests.drill.processes import Api
from tests.drill.service import Service

KILLS = 10
INLINE_SECONDS = 25


def test_kill_9_of_a_worker(service: Service) -> None:
    api = service.start_api()
    worker = service.start_worker()

    before = 0
    for kill in range(1, KILLS + 1):
        is_first_of_two = kill % 2 == 1
        if is_first_of_two:
            before = service.push_service.accepted
            assert service.broadcast(api).status_code == 202
        service.until_accepted(before + service.somewhere(*((0.05, 0.45) if is_first_of_two else (0.5, 0.85))))
        ways = (worker.kill, worker.kill_the_sender, worker.kill_the_supervisor)
        ways[kill % len(ways)]()
        _say_kill(service, kill, before)
        if not worker.is_alive:
            worker = service.start_worker()
    service.say("the last leases have to run out")
    service.until_finished()

    result = service.account(somebody_died=True)
    assert result.by_status == {"sent": KILLS // 2 * service.recipients}


def test_kill_9_of_the_api_during_an_inline_send(service: Service) -> None:
    for kill in range(1, KILLS + 1):
        before = service.push_service.accepted
        api = service.start_api(
            INLINE_MAX_RECIPIENTS=str(service.recipients), INLINE_TIMEOUT_SECONDS=str(INLINE_SECONDS)
        )
        answer = service.in_the_background(service.broadcast, api)
        if kill % 5 == 0:
            _wait_into_planning(service, kill)
        else:
            service.until_accepted(before + service.somewhere(0.01, 0.6), unless=answer.done)
        api.kill()
        _say_kill(service, kill, before)
    service.start_worker()
    service.say("a worker goes on with what they left")
    service.until_finished()

    result = service.account(somebody_died=True)
    assert result.by_status == {"sent": KILLS * service.recipients}


def test_an_idempotency_key_outlives_the_api(service: Service) -> None:
    inline = {"INLINE_MAX_RECIPIENTS": str(service.recipients), "INLINE_TIMEOUT_SECONDS": str(INLINE_SECONDS)}
    key = {"Idempotency-Key": f"drill-{service.random.randrange(10**9)}"}
    api = service.start_api(**inline)
    answer = service.in_the_background(service.broadcast, api, headers=key)
    service.until_accepted(service.somewhere(0.01, 0.6))
    api.kill()
    service.claims.note()
    assert answer.exception() is not None, "the client has heard nothing"

    api = service.start_api(**inline)
    service.start_worker()
    again = _until_answered(service, api, key)
    service.until_finished()
    once_more = service.broadcast(api, headers=key)

    [notification_id] = service.notification_ids()
    service.say(f"repeated with its key: {again} and {once_more.status_code}, one notification")
    assert once_more.json()["notification_id"] == str(notification_id)
    assert service.account(somebody_died=True).by_status == {"sent": service.recipients}


def _say_kill(service: Service, kill: int, before: int) -> None:
    in_flight = service.claims.note()
    came = service.push_service.accepted - before
    service.say(f"kill {kill:2} of {KILLS}: after {came:6,} messages, {in_flight:5,} claimed and not recorded")


def _wait_into_planning(service: Service, count: int) -> None:
    planned = "SELECT coalesce(sum(planned_count), 0) FROM push_notifications"
    goal = service.scalar(planned) + service.somewhere(0.1, 0.8)
    service.until(lambda: service.scalar(planned) >= goal, "planning has come so far")


def _until_answered(service: Service, api: Api, key: dict[str, str]) -> int:
    """Repeat the request as a client does, as long as it is told that the first one is still running."""
    while (answer := service.broadcast(api, headers=key)).status_code == 409:
        time.sleep(1.0)
    assert answer.status_code in (200, 202), answer.text
    return answer.status_code
