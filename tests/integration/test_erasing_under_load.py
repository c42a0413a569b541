"""People are erased and browsers renewed while workers send: the ledger adds up at every look, no link is left."""

import threading
from collections.abc import Iterable

from sqlalchemy import func, select

from app.db.session import SessionFactory, transaction
from app.models import DEFAULT_TENANT_ID, DeliveryLog, Notification, Subscription
from app.simulator import Browser, Simulator
from app.users import service as users
from app.workers.loop import DeliveryLoop
from tests.support.delivery import NOTHING_INLINE, Subscriber, send
from tests.support.ledger import adds_up
from tests.support.replacing import replaced_by
from tests.support.waiting import until

NOTIFICATIONS = 3


def erase(sessions: SessionFactory, user_ids: Iterable[str], erased: list[str]) -> None:
    for user_id in user_ids:
        users.erase(sessions, DEFAULT_TENANT_ID, user_id)
        erased.append(user_id)


def renew(subscribers: Iterable[Subscriber], push_service: Simulator, renewed: list[Browser]) -> None:
    for subscriber in subscribers:
        browser = push_service.subscribe()
        replaced_by(subscriber, browser)
        renewed.append(browser)


def look(sessions: SessionFactory, looks: list[bool], stop: threading.Event) -> None:
    while not stop.is_set():
        looks.append(adds_up(sessions))


def is_finished(sessions: SessionFactory) -> bool:
    with transaction(sessions) as session:
        unfinished = select(func.count()).where(Notification.finished_at.is_(None))
        return session.scalars(unfinished).one() == 0


def test_erasures_and_renewals_while_workers_send(pipeline, sessions, subscribe, push_service: Simulator) -> None:
    leaving = [one for number in range(8) for one in subscribe(10, user_id=f"user-{number}")]
    staying = subscribe(20, user_id="stays")
    names = [f"user-{number}" for number in range(8)]
    for _ in range(NOTIFICATIONS):
        send(pipeline, limits=NOTHING_INLINE)
    erased: list[str] = []
    renewed: list[Browser] = []
    looks: list[bool] = []
    stop = threading.Event()
    threads = [
        threading.Thread(target=erase, args=(sessions, names[:5], erased)),
        threading.Thread(target=erase, args=(sessions, names[3:], erased)),
        threading.Thread(target=renew, args=(staying, push_service, renewed)),
    ]
    looking = threading.Thread(target=look, args=(sessions, looks, stop))
    loop = DeliveryLoop(pipeline, runners=4)

    for thread in [*threads, looking]:
        thread.start()
    loop.start()
    for thread in threads:
        thread.join()
    until(lambda: is_finished(sessions), "all is sent, or settled otherwise")
    stop.set()
    looking.join()
    loop.stop()

    with transaction(sessions) as session:
        ids = [subscriber.id for subscriber in leaving]
        links = session.scalars(select(func.count()).where(DeliveryLog.subscription_id.in_(ids))).one()
        left = session.scalars(select(func.count()).select_from(Subscription)).one()
    got = [len(one.browser.received) + len(new.received) for one, new in zip(staying, renewed, strict=True)]
    assert (links, left) == (0, len(staying))
    assert set(erased) == set(names)
    assert set(got) == {NOTIFICATIONS}
    assert set(looks) == {True}
