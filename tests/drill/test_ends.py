"""What ends in the middle, in order: a worker by SIGTERM, a notification by a cancel."""

import time

import httpx

from tests.drill.service import Service
from tests.support.api import SERVICE_HEADERS

CLAIMED = "SELECT count(*) FROM push_delivery_batches WHERE state = 'leased'"
NOT_YET_DUE = "SELECT count(*) FROM push_delivery_batches WHERE state = 'ready' AND not_before > now()"


def test_sigterm_in_the_middle(service: Service) -> None:
    api = service.start_api()
    worker = service.start_worker()
    assert service.broadcast(api).status_code == 202
    service.until_accepted(service.somewhere(0.05, 0.6))

    told_at = time.monotonic()
    exit_code = worker.stop()
    took = time.monotonic() - told_at

    posted, left = service.push_service.posts, service.pending()
    claimed, not_yet_due = service.scalar(CLAIMED), service.scalar(NOT_YET_DUE)
    service.say(
        f"ended in {took:.1f} s with {exit_code}, after {posted:,} messages; {left:,} left, {claimed} batches held"
    )
    assert (exit_code, claimed, not_yet_due) == (0, 0, 0), "whoever comes next has to wait for nothing"
    assert left > 0
    service.start_worker()
    service.until_finished()
    assert service.account().by_status == {"sent": service.recipients}


def test_cancel_in_the_middle(service: Service) -> None:
    api = service.start_api()
    service.start_worker()
    notification_id = service.broadcast(api).json()["notification_id"]
    service.until_accepted(service.somewhere(0.05, 0.6))

    answer = httpx.post(
        f"{api.url}/notifications/{notification_id}/cancel", headers=dict(SERVICE_HEADERS), timeout=60
    )
    assert answer.status_code in (200, 202), answer.text
    service.until_finished()
    settled_with = service.push_service.posts
    result = service.account()
    cancelled = result.by_reason["cancelled"]
    service.say(f"cancelled: {result.by_status['sent']:,} had been sent, {cancelled:,} are not")

    assert result.by_status == {"sent": settled_with, "failed": cancelled}
    assert cancelled > 0
    assert service.broadcast(api, ttl=600).status_code == 202
    service.until_finished()
    service.account()
    assert service.push_service.posts == settled_with + service.recipients, "nothing more of the first one"
