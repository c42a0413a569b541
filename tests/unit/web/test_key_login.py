"""Who shows which API key: what it costs the database, what guessing comes to, and when a key was last used."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from sqlalchemy import event, select, update
from sqlalchemy.exc import OperationalError

from app.db.session import SessionFactory, engine_of, transaction
from app.errors import RateLimited
from app.ids import new_id
from app.models import DEFAULT_TENANT_ID, ApiKey
from app.settings import Settings
from app.tenants.live_keys import digest_of
from app.tenants.scopes import ALL_SCOPES, Scope
from app.web import key_login
from app.web.failed_logins import FailedLogins
from app.web.key_login import REMEMBERED_SECONDS, InvalidApiKey, KeyLogin
from app.web.limiter import RateLimits, create_limiter
from tests.support.api import API_KEY, SettingsFactory

GUESSES = 3
HERE, ELSEWHERE = "203.0.113.1", "203.0.113.2"


@dataclass
class Clock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Desk:
    """A process that looks keys up, with a clock of its own."""

    sessions: SessionFactory
    login: KeyLogin
    clock: Clock = field(default_factory=Clock)

    def scopes_of(self, key: str, *, address: str = HERE) -> frozenset[Scope]:
        return self.login.find(key.encode(), self.sessions, address=address).scopes

    def guess(self, times: int) -> None:
        for number in range(times):
            with pytest.raises((InvalidApiKey, RateLimited)):
                self.scopes_of(f"wrong-{number}")

    def use(self, key: str) -> None:
        self.login.note_use(self.login.find(key.encode(), self.sessions, address=HERE), self.sessions)


@pytest.fixture
def settings(make_settings: SettingsFactory) -> Settings:
    return make_settings(rate_limit_failed_login=f"{GUESSES}/hour")


@pytest.fixture
def desk(settings: Settings, sessions: SessionFactory) -> Desk:
    return _new_desk(settings, sessions)


def _new_desk(settings: Settings, sessions: SessionFactory) -> Desk:
    clock = Clock()
    failed = FailedLogins(RateLimits(settings, create_limiter(settings)))
    return Desk(sessions, KeyLogin(settings, failed, clock=clock), clock)


@pytest.fixture
def store_key(sessions: SessionFactory) -> Callable[..., str]:
    """Stores a key that may read, and gives it back."""

    def store(key: str = "pns_a-key") -> str:
        with transaction(sessions) as session:
            session.add(
                ApiKey(
                    id=new_id(),
                    tenant_id=DEFAULT_TENANT_ID,
                    name="blog",
                    prefix=key[:12],
                    key_hash=digest_of(key.encode()),
                    scopes=["read"],
                )
            )
        return key

    return store


def _revoke_all(sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        session.execute(update(ApiKey).values(revoked_at=ApiKey.created_at))


@contextmanager
def _statements(sessions: SessionFactory) -> Iterator[list[str]]:
    """Collect what is asked of the database meanwhile."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(engine_of(sessions), "before_cursor_execute", note)
    yield seen
    event.remove(engine_of(sessions), "before_cursor_execute", note)


def test_a_busy_key_costs_one_query_in_some_seconds(desk: Desk, store_key: Callable[..., str]) -> None:
    key = store_key()

    with _statements(desk.sessions) as asked:
        found = {desk.scopes_of(key) for _ in range(100)}
        of_the_first_moment = len(asked)
        desk.clock.now += REMEMBERED_SECONDS
        desk.scopes_of(key)

    assert found == {frozenset({Scope.READ})}
    assert (of_the_first_moment, len(asked)) == (1, 2)


def test_the_key_of_the_settings_costs_none(desk: Desk) -> None:
    with _statements(desk.sessions) as asked:
        scopes = desk.scopes_of(API_KEY)

    assert scopes == ALL_SCOPES
    assert asked == []


def test_a_new_key_is_taken_at_once(desk: Desk, store_key: Callable[..., str]) -> None:
    desk.guess(1)

    key = store_key()

    assert desk.scopes_of(key) == {Scope.READ}


def test_a_revoked_key_dies_within_seconds(desk: Desk, store_key: Callable[..., str]) -> None:
    key = store_key()
    desk.scopes_of(key)
    _revoke_all(desk.sessions)

    desk.clock.now += REMEMBERED_SECONDS

    with pytest.raises(InvalidApiKey):
        desk.scopes_of(key)


def test_an_address_that_guesses_is_told_to_wait_and_asks_nothing_of_the_database(desk: Desk) -> None:
    desk.guess(GUESSES)

    with _statements(desk.sessions) as asked, pytest.raises(RateLimited, match="3 per 1 hour") as refused:
        desk.scopes_of("wrong")
    desk.clock.now += 0.9
    with _statements(desk.sessions) as asked_again:
        desk.guess(50)

    assert 3500 < refused.value.retry_after_seconds <= 3601
    assert len(asked) + len(asked_again) <= 1
    with pytest.raises(InvalidApiKey):
        desk.scopes_of("wrong", address=ELSEWHERE)


def test_keys_that_live_open_however_much_is_guessed_beside_them(
    settings: Settings, sessions: SessionFactory, store_key: Callable[..., str]
) -> None:
    old = store_key("pns_old")
    desk = _new_desk(settings, sessions)  # it has never seen the key
    desk.guess(GUESSES + 1)
    new = store_key("pns_new")

    desk.clock.now += key_login.REMEMBERED_SECONDS_UNDER_ATTACK

    assert desk.scopes_of(old) == {Scope.READ}
    assert desk.scopes_of(new) == {Scope.READ}
    assert desk.scopes_of(API_KEY) == ALL_SCOPES


def test_right_keys_are_no_guesses(desk: Desk, store_key: Callable[..., str]) -> None:
    key = store_key()

    for _ in range(GUESSES + 1):
        desk.scopes_of(key)
        desk.scopes_of(API_KEY)

    with pytest.raises(InvalidApiKey):
        desk.scopes_of("wrong")


def test_the_last_use_is_written_once_a_minute(desk: Desk, store_key: Callable[..., str]) -> None:
    key = store_key()

    with _statements(desk.sessions) as asked:
        desk.use(API_KEY)
        for _ in range(10):
            desk.use(key)
        written = [statement for statement in asked if statement.startswith("UPDATE")]
        desk.clock.now += 60
        desk.use(key)
    with transaction(desk.sessions) as session:
        last_used_at = session.scalars(select(ApiKey.last_used_at)).one()

    assert last_used_at is not None
    assert len(written) == 1
    assert len([statement for statement in asked if statement.startswith("UPDATE")]) == 2


def test_two_processes_write_the_last_use_once_a_minute_together(
    settings: Settings, sessions: SessionFactory, store_key: Callable[..., str]
) -> None:
    key = store_key()

    uses = []
    for _ in range(2):
        _new_desk(settings, sessions).use(key)
        with transaction(sessions) as session:
            uses.append(session.scalars(select(ApiKey.last_used_at)).one())

    assert uses[0] == uses[1]


def test_the_last_use_waits_for_nobody(desk: Desk, store_key: Callable[..., str]) -> None:
    key = store_key()

    with transaction(desk.sessions) as session:
        session.execute(select(ApiKey).with_for_update())
        desk.use(key)  # would wait for this very test

    with transaction(desk.sessions) as session:
        assert session.scalars(select(ApiKey.last_used_at)).one() is None


def test_a_last_use_that_cannot_be_written_stops_nobody(
    desk: Desk, store_key: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = store_key()
    tried = []

    def fail(*_: object) -> None:
        tried.append(1)
        raise OperationalError("the disk is full", {}, Exception())

    monkeypatch.setattr(key_login, "note_use", fail)

    desk.use(key)
    desk.use(key)

    assert tried == [1], "not tried again at every request"
