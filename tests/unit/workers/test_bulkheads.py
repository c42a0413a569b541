"""Many hosts of one push service hang at once: who is at another one notices nothing."""

import threading
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import func, select

from app.db.session import database_now, transaction
from app.models import DeliveryLog, Subscription
from app.workers.loop import DeliveryLoop, _Calls
from tests.support.delivery import NOTHING_INLINE, send
from tests.support.ledger import FCM, MOZILLA, add_subscription
from tests.support.senders import ACCEPTED, WAIT_SECONDS
from tests.support.waiting import until

HANGING = "notify.windows.com"


class PartlyHangingSender:
    """Hosts of one push service do not answer until `answer` is set; all others accept at once."""

    def __init__(self):
        self.answer = threading.Event()
        self.waiting = set()
        self._lock = threading.Lock()

    def send(self, messages, *, stop, rate_per_second=None):
        hosts = {message.endpoint.split("/")[2] for message in messages}
        if any(host.endswith(HANGING) for host in hosts):
            with self._lock:
                self.waiting |= hosts
            assert self.answer.wait(WAIT_SECONDS), "nobody let the push service answer"
        yield [(message, ACCEPTED) for message in messages]

    def close(self):
        pass


@pytest.fixture
def audience(pipeline):
    """`audience(hosts)` subscribes somebody at each of these hosts."""

    def subscribe(hosts):
        with transaction(pipeline.sessions) as session:
            now = database_now(session)
            for host in hosts:
                add_subscription(session, created_at=now, host=host)

    return subscribe


def sent_to(pipeline, host):
    """How many deliveries to the host, or to those below it, are sent."""
    with transaction(pipeline.sessions) as session:
        query = select(func.count()).select_from(DeliveryLog)
        query = query.join(Subscription, Subscription.id == DeliveryLog.subscription_id)
        return session.scalars(
            query.where(DeliveryLog.status == "sent", Subscription.endpoint_host.endswith(host))
        ).one()


@pytest.mark.parametrize("count", [10, 30])
def test_others_are_sent_to_while_they_hang(pipeline, audience, count):
    audience([f"dm{number}p.{HANGING}" for number in range(count)])
    sender = PartlyHangingSender()
    loop = DeliveryLoop(replace(pipeline, sender=sender))
    loop.start()
    for _ in range(3):
        send(pipeline, limits=NOTHING_INLINE)
    until(lambda: len(sender.waiting) >= min(count, 16), "as many hang as are let")
    audience([FCM, MOZILLA])

    for _ in range(3):
        send(pipeline, limits=NOTHING_INLINE)
    until(lambda: sent_to(pipeline, FCM) == sent_to(pipeline, MOZILLA) == 3, "the others get everything")

    assert sent_to(pipeline, HANGING) == 0
    sender.answer.set()
    until(lambda: sent_to(pipeline, HANGING) == 6 * count, "and then they are sent to, too")
    assert loop.stop(WAIT_SECONDS)


def _are_asleep(calls, count):
    return calls.waiting == count


def test_of_the_runners_asleep_the_last_one_is_woken():
    calls = _Calls()
    woken: list[str] = []

    def sleep(name):
        calls.wait(0)
        woken.append(name)

    threads = [threading.Thread(target=sleep, args=(name,), daemon=True) for name in ("first", "last")]
    for number, thread in enumerate(threads, 1):
        thread.start()
        until(partial(_are_asleep, calls, number))
    calls.call()
    threads[1].join(WAIT_SECONDS)
    calls.call_all()
    threads[0].join(WAIT_SECONDS)

    assert woken == ["last", "first"]
    calls.wait(0)  # called already: nobody sleeps through a call
