"""Push services in every kind of trouble: everybody gets it, and nobody gets it twice without a reason.

Whoever is refused waits for the next try; nobody's subscription is blamed.
"""

from typing import Any

from tests.drill.service import Service

RESOLVER_FAILS = ["tests.drill.worker", "--failing-name", "localhost", "--failing-while"]

BLAMED = "SELECT count(*) FROM push_subscriptions WHERE NOT enabled OR gone_at IS NOT NULL"
PUT_OFF = "SELECT count(*) FROM push_delivery_logs WHERE status = 'pending' AND reason = :reason"
TRIES = "SELECT coalesce(sum(attempts), 0) FROM push_delivery_logs WHERE status = 'pending' AND reason = :reason"


# What goes wrong, and how often before it is well again. Whoever has trouble with more than half of what is sent is
# left alone for a while: so only a part is hit, but for the first.
MISBEHAVIOURS: dict[str, tuple[dict[str, Any], int]] = {
    "answers 500": ({"action": "answer", "status": 500}, 50),
    "resets connections": ({"action": "reset", "every": 500, "delivers": True}, 3),
    "answers with garbage": ({"action": "garbage", "every": 500}, 3),
    "refuses with an endless body": ({"action": "endless_body", "status": 502, "every": 5}, 300),
    "accepts with an endless body": ({"action": "endless_body", "status": 201, "every": 5}, 300),
    "accepts with a slow body": ({"action": "slow_body", "status": 201, "every": 50}, 30),
}


def test_a_push_service_that_misbehaves_in_many_ways(service: Service) -> None:
    api = service.start_api()
    service.start_worker()
    push_service = service.push_service

    for what, (fault, times) in MISBEHAVIOURS.items():
        before = push_service.counts
        push_service.misbehaves(**fault)
        assert service.broadcast(api).status_code == 202
        goal = before["faults"] + times
        service.until(lambda: push_service.counts["faults"] >= goal, what)  # noqa: B023 - asked at once
        push_service.behaves()
        after = push_service.counts
        came, hit = after["accepted"] - before["accepted"], after["faults"] - before["faults"]
        service.say(f"{what}, {hit:,} times; {came:,} were accepted meanwhile")
    service.until_finished()

    assert service.account().by_status == {"sent": len(MISBEHAVIOURS) * service.recipients}
    assert service.scalar(BLAMED) == 0


def test_a_push_service_that_says_goaway_every_thousand_requests(service: Service) -> None:
    api = service.start_api()
    service.start_worker()
    service.push_service.misbehaves(action="go_away", every=1000)

    assert service.broadcast(api).status_code == 202
    service.until_finished()

    connections = service.push_service.counts["connections_by_http_version"].get("2", 0)
    service.say(f"{connections} connections, each told to go after 1,000 requests")
    assert connections >= service.recipients // 1000
    result = service.account()
    assert (result.by_status, result.messages) == ({"sent": service.recipients}, service.recipients)


def test_certificates_that_expire_in_the_middle(service: Service) -> None:
    api = service.start_api()
    service.start_worker()
    push_service = service.push_service
    assert service.broadcast(api).status_code == 202
    service.until_accepted(service.somewhere(0.05, 0.5))

    for kind in ("expired", "untrusted"):
        push_service.presents_certificate(kind)
        tries = service.scalar(TRIES, reason="tls_refused")
        accepted, met = push_service.accepted, push_service.arrived
        service.until(lambda: push_service.arrived > met, f"somebody meets the {kind} one")  # noqa: B023 - asked at once
        service.until(lambda: service.scalar(TRIES, reason="tls_refused") > tries, "deliveries are put off")  # noqa: B023 - the same
        assert push_service.accepted == accepted, "nothing is posted to somebody who cannot show who he is"
    waiting = service.scalar(PUT_OFF, reason="tls_refused")
    push_service.presents_certificate("trusted")
    service.say(f"two bad certificates after {accepted:,} messages; {waiting:,} deliveries wait for a good one")
    service.until_finished()

    assert service.account().by_status == {"sent": service.recipients}
    assert service.scalar(BLAMED) == 0


def test_a_name_that_cannot_be_looked_up(service: Service) -> None:
    named = service.push_service.hosts[1]
    failing = service.directory / "the-resolver-fails"
    failing.touch()
    api = service.start_api()
    service.start_worker(command=[*RESOLVER_FAILS, str(failing)])
    assert service.broadcast(api).status_code == 202

    service.until(lambda: service.scalar(PUT_OFF, reason="dns_failure") > 0, "deliveries are put off")
    service.until(lambda: service.push_service.accepted == service.recipients - service.pending(named), "others go")
    waiting = service.pending(named)
    failing.unlink()
    service.say(f"all at the other push service are through; {waiting:,} wait for one whose name leads nowhere")
    service.until_finished()

    assert waiting > 0
    assert service.account().by_status == {"sent": service.recipients}
    assert service.scalar(BLAMED) == 0
