"""Browsers report while broadcasts are under way and APIs are killed: what was displayed counts once, for good.

Receipts come to them and to one that lives, from several threads: before the worker has recorded its outcome, twice
and by two at once, forged, and after the end. What is not answered is sent again, as service workers do.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from random import Random
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import text

from app.db.session import transaction
from app.delivery.token import DeliveryKey, ReceiptTokens
from app.keyring.service import Keyring
from tests.drill.processes import Api
from tests.drill.service import Service
from tests.support.api import SECRET_KEY
from tests.support.receipts import adds_up
from tests.support.waiting import POLL_SECONDS

BROADCASTS, KILLS = 2, 3
REPORTERS = 4
PEOPLE = 1_500  # who report, each of every broadcast
LATE = 300
MOST_AT_ONCE = 20
TOKENS = ReceiptTokens(Keyring(SECRET_KEY).receipt_key)
FORGED = {"token": "A" * 80, "event": "displayed"}

_PLANNED = text(
    """
    SELECT planned_at, notification_id, subscription_id FROM push_delivery_logs
    WHERE subscription_id = ANY(:subscription_ids)
    """
)
_SHOWN = """
    SELECT count(*) FROM push_receipts AS receipt JOIN push_delivery_logs AS log
      ON (log.planned_at, log.notification_id, log.subscription_id)
       = (receipt.planned_at, receipt.notification_id, receipt.subscription_id)
    WHERE receipt.event = 'displayed' AND log.status = 'delivered' AND log.delivered_at = receipt.occurred_at
"""
_BY_STATUS = """
    SELECT json_object_agg(status, rows)
    FROM (SELECT status, count(*) AS rows FROM push_delivery_logs GROUP BY status) AS counted
"""


class Browsers:
    """Some of the audience, and what their service workers have reported by now."""

    def __init__(self, service: Service, api: Callable[[], Api], people: Sequence[UUID], random: Random) -> None:
        self.reported: set[DeliveryKey] = set()
        self.repeated_requests = 0
        self._http = httpx.Client(timeout=60, trust_env=False)
        self._service = service
        self._api = api
        self._people = people
        self._random = random

    def report_everything(self) -> None:
        """Report each message to these people, as soon as it is planned, until that of the last broadcast."""
        while len(self.reported) < BROADCASTS * len(self._people):
            with transaction(self._service.sessions) as session:
                rows = session.execute(_PLANNED, {"subscription_ids": list(self._people)}).all()
            fresh = [key for key in (DeliveryKey(*row) for row in rows) if key not in self.reported]
            if not fresh:
                time.sleep(POLL_SECONDS)
            self._random.shuffle(fresh)
            while fresh:
                some = [fresh.pop() for _ in range(min(len(fresh), self._random.randint(1, MOST_AT_ONCE)))]
                self._report(some)
        self._http.close()

    def _report(self, deliveries: Sequence[DeliveryKey]) -> None:
        receipts = [{"token": _token(key), "event": "displayed"} for key in deliveries]
        receipts += self._random.sample(receipts, len(receipts) // 3)
        receipts += [{"token": _token(key), "event": "clicked", "action": "read"} for key in deliveries[::3]]
        receipts.insert(0, FORGED)
        told = self._until_answered({"receipts": receipts})
        assert told["refused"] == [{"index": 0, "reason": "invalid"}], told
        assert told["accepted"] + told["repeated"] + 1 == len(receipts), told
        self.reported.update(deliveries)

    def _until_answered(self, body: dict[str, Any]) -> dict[str, Any]:
        while True:
            try:
                answer = self._http.post(f"{self._api().url}/receipts/", json=body)
            except httpx.TransportError:
                self.repeated_requests += 1
                time.sleep(POLL_SECONDS)
                continue
            if answer.status_code < 500:
                told: dict[str, Any] = answer.raise_for_status().json()
                return told


def test_what_was_displayed_counts_once_whoever_is_killed(service: Service) -> None:
    steady = service.start_api()
    apis = [service.start_api()]
    service.start_worker()
    people = _some_people(service, PEOPLE + LATE)
    shares = [people[first:PEOPLE:REPORTERS] for first in range(REPORTERS)]
    # Each reports some of the next one's, too: by two at once.
    shares = [share + shares[(number + 1) % REPORTERS][::5] for number, share in enumerate(shares)]
    browsers = [_browsers(service, lambda: steady, shares[0])]
    browsers += [_browsers(service, lambda: apis[-1], share) for share in shares[1:]]
    with ThreadPoolExecutor(REPORTERS) as threads:
        reporters = [threads.submit(each.report_everything) for each in browsers]
        for _ in range(BROADCASTS):
            assert service.broadcast(apis[-1]).status_code == 202
        for number in range(1, KILLS + 1):
            goal = number * BROADCASTS * PEOPLE // (KILLS + 2)
            service.until(lambda: _receipts(service) >= goal, f"{goal:,} are displayed")  # noqa: B023 - asked at once
            apis[-1].kill()
            service.say(f"kill {number} of {KILLS}: {_receipts(service):,} of {BROADCASTS * PEOPLE:,} displayed")
            apis.append(service.start_api())
        wait(reporters)
    service.until_finished()
    late = _browsers(service, lambda: steady, people[PEOPLE:])
    late.report_everything()

    assert [reporter.exception() for reporter in reporters] == [None] * REPORTERS
    reported = set().union(*(each.reported for each in (*browsers, late)))
    repeated = sum(each.repeated_requests for each in browsers)
    service.say(f"{len(reported):,} deliveries reported; {repeated} requests were not answered, and sent again")
    assert len(reported) == BROADCASTS * (PEOPLE + LATE)
    assert _receipts(service) == service.scalar(_SHOWN) == len(reported)
    assert service.scalar(_BY_STATUS) == {
        "sent": BROADCASTS * service.recipients - len(reported),
        "delivered": len(reported),
    }
    service.assert_the_ledger_adds_up()
    one_of_each = {key.notification_id: key for key in reported}
    assert all(adds_up(service.sessions, key) for key in one_of_each.values())


def _browsers(service: Service, api: Callable[[], Api], people: Sequence[UUID]) -> Browsers:
    return Browsers(service, api, people, Random(service.random.random()))


def _some_people(service: Service, count: int) -> list[UUID]:
    with transaction(service.sessions) as session:
        everybody = session.scalars(text("SELECT id FROM push_subscriptions ORDER BY id")).all()
    return service.random.sample(list(everybody), count)


def _receipts(service: Service) -> int:
    return int(service.scalar("SELECT count(*) FROM push_receipts WHERE event = 'displayed'"))


def _token(key: DeliveryKey) -> str:
    [token] = TOKENS.make(key.notification_id, key.planned_at, 3600, [str(key.subscription_id)])
    return token.decode("ascii")
