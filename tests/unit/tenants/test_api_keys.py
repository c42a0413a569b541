"""What the rows of API keys hold against two who come at once."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from app.db.session import SessionFactory, transaction
from app.models import DEFAULT_TENANT_ID, Tenant
from app.tenants import api_keys
from app.tenants.api_keys import TooManyLiveKeys
from app.tenants.live_keys import digest_of, live_keys
from app.tenants.scopes import Scope


def _create(session_factory: SessionFactory, start: Barrier) -> str | None:
    with transaction(session_factory) as session:
        tenant = session.get_one(Tenant, DEFAULT_TENANT_ID)
        start.wait()
        try:
            return api_keys.create(session, tenant, "blog", scopes=[Scope.SEND])[0]
        except TooManyLiveKeys:
            return None


def test_of_four_made_at_once_two_live(sessions: SessionFactory) -> None:
    start = Barrier(4)

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: _create(sessions, start), range(4)))

    keys = [key for key in made if key is not None]
    with transaction(sessions) as session:
        live = live_keys(session)
    assert len(keys) == 2
    assert set(live) == {digest_of(key.encode()) for key in keys}


def test_a_key_made_meanwhile_holds_up_nobody_who_refers_to_the_tenant(sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        api_keys.create(session, session.get_one(Tenant, DEFAULT_TENANT_ID), "blog", scopes=[Scope.SEND])

        with transaction(sessions) as other:  # a foreign key's check asks for this lock
            found = other.get_one(
                Tenant, DEFAULT_TENANT_ID, with_for_update={"key_share": True, "read": True, "nowait": True}
            )

    assert found.slug == "default"
