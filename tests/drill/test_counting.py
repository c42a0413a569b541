"""Before anything is killed: somebody lost, or sent to twice, would be noticed."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from tests.drill.counting import NEVER, Tally, count
from tests.drill.push_service import Arrival
from tests.drill.service import Service

RECORDED_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
BEFORE, AFTER = RECORDED_AT.timestamp() - 1, RECORDED_AT.timestamp() + 1
ONCE = Arrival(1, BEFORE, 1, 60, 60)
TWICE = replace(ONCE, accepted=2, posts=2)

FORGET_ONE = """
    DELETE FROM push_delivery_logs WHERE id = (SELECT id FROM push_delivery_logs LIMIT 1) RETURNING 1
"""
OPEN_ONE_AGAIN = """
    WITH opened AS (
        UPDATE push_delivery_logs SET status = 'pending'
        WHERE id = (SELECT id FROM push_delivery_logs LIMIT 1) RETURNING batch_id
    )
    UPDATE push_delivery_batches SET state = 'ready' FROM opened WHERE id = batch_id RETURNING 1
"""
OPEN_BATCHES = "SELECT count(*) FROM push_delivery_batches WHERE state <> 'closed'"


def delivery(status: str) -> Any:
    reason = None if status == "sent" else "cancelled"
    return SimpleNamespace(status=status, reason=reason, sent_at=RECORDED_AT, endpoint="https://push.example/1")


@pytest.mark.parametrize(
    ("status", "arrival", "may_repeat", "faults"),
    [
        ("sent", ONCE, 0, {}),
        ("sent", TWICE, 1, {}),
        ("sent", NEVER, 0, {"lost": 1}),
        ("sent", NEVER, 1, {"lost": 1}),
        ("sent", TWICE, 0, {"unexplained": 1}),
        ("sent", replace(TWICE, untold=1), 0, {}),
        ("sent", replace(TWICE, accepted=3, untold=1), 0, {"unexplained": 1}),
        ("sent", replace(ONCE, last_accepted_at=AFTER), 1, {"after_the_end": 1}),
        ("failed", NEVER, 0, {}),
        ("failed", ONCE, 0, {"unrecorded": 1}),
        ("pending", ONCE, 0, {"unrecorded": 1}),
        ("expired", NEVER, 0, {}),
    ],
)
def test_everybody_is_accounted_for(status: str, arrival: Arrival, may_repeat: int, faults: dict[str, int]) -> None:
    tally = Tally()

    count(tally, delivery(status), arrival, may_repeat)

    assert tally.faults == faults


def test_harm_done_to_a_real_ledger_is_noticed(service: Service) -> None:
    api = service.start_api()
    service.start_worker()
    assert service.broadcast(api).status_code == 202
    service.until_finished()
    service.account()

    service.scalar(OPEN_ONE_AGAIN)
    service.until(lambda: service.scalar(OPEN_BATCHES) == 0, "it is sent again")
    with pytest.raises(AssertionError, match="unexplained"):
        service.account()
    service.scalar(FORGET_ONE)
    with pytest.raises(AssertionError, match="planned_is_the_sum"):
        service.account()
    service.say("one sent to again was noticed, and one forgotten")
