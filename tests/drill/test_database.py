"""PostgreSQL goes away in the middle of 20,000 deliveries, gently or not, and comes back."""

import time

import pytest

from tests.drill.service import Service
from tests.support.databases import StoppablePostgres


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_postgresql_goes_away_and_comes_back(service: Service, drill_postgres: StoppablePostgres, how: str) -> None:
    api = service.start_api()
    service.start_worker()
    assert service.broadcast(api).status_code == 202
    service.until_accepted(service.somewhere(0.05, 0.6))

    if how == "stopped":
        drill_postgres.stop(gently=True)
    else:
        drill_postgres.kill()
    at = service.push_service.accepted
    away_seconds = service.random.uniform(1, 5)
    time.sleep(away_seconds)
    drill_postgres.start()
    came_meanwhile = service.push_service.accepted - at
    service.say(f"{how} after {at:,} messages; {came_meanwhile:,} more while it was away ({away_seconds:.1f} s)")
    service.until_finished()

    # Nobody died: what was answered waited in memory, so nobody gets anything twice.
    result = service.account()
    assert result.by_status == {"sent": service.recipients}
