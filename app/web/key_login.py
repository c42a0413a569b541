"""Which service shows an API key. Those that live are remembered, so that a busy client costs no query each time.

A revoked key is therefore taken for REMEMBERED_SECONDS at most; a new one is taken at once.
"""

import hmac
import math
import time
from collections.abc import Callable
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.db.session import SessionFactory, transaction
from app.errors import Unauthenticated
from app.models import DEFAULT_TENANT_ID
from app.settings import Settings
from app.tenants.live_keys import (
    USE_IS_NOTED_EVERY,
    LiveKey,
    digest_of,
    find_live,
    live_keys,
    note_use,
)
from app.tenants.scopes import ALL_SCOPES
from app.web.failed_logins import FailedLogins
from app.web.remembered import Remembered

REMEMBERED_SECONDS = 5.0
# Once an address has guessed too often, all that it can make us ask is which keys have come to live since.
REMEMBERED_SECONDS_UNDER_ATTACK = 1.0

_log = structlog.get_logger(__name__)


class InvalidApiKey(Unauthenticated):
    code = "invalid-api-key"
    title = "The API key is not valid"


class KeyLogin:
    """Knows API keys: API_KEY of the settings, and those in the database. Safe to share between threads."""

    def __init__(
        self, settings: Settings, failed: FailedLogins, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        assert settings.api_key is not None  # the settings see to that
        self._configured = digest_of(settings.api_key.get_secret_value().encode())
        self._failed = failed
        self._clock = clock
        self._live = Remembered(live_keys, seconds=REMEMBERED_SECONDS, clock=clock)
        self._noted_at: dict[UUID, float] = {}

    def find(self, shown: bytes, sessions: SessionFactory, *, address: str) -> LiveKey:
        """Return what a key may do. Raises InvalidApiKey, and RateLimited when its address has guessed too often.

        A key that lives opens however many wrong ones came from its address.
        """
        digest = digest_of(shown)
        if hmac.compare_digest(digest, self._configured):
            return LiveKey(None, DEFAULT_TENANT_ID, ALL_SCOPES)
        key = self._live.get(sessions).get(digest) or self._look_up(digest, sessions, address)
        if key is None:
            self._failed.count(address)
            raise InvalidApiKey("X-API-Key is unknown or revoked.")
        return key

    def note_use(self, key: LiveKey, sessions: SessionFactory) -> None:
        """Write down when a key was used, once a minute. That it cannot be written stops nobody."""
        now = self._clock()
        if key.id is None or now - self._noted_at.get(key.id, -math.inf) < USE_IS_NOTED_EVERY.total_seconds():
            return
        self._noted_at[key.id] = now  # whatever comes of it: the next try is in a minute
        try:
            with transaction(sessions) as session:
                note_use(session, key.id)
        except SQLAlchemyError as error:
            _log.warning("the use of an API key was not noted", error=type(error).__name__)

    def _look_up(self, digest: bytes, sessions: SessionFactory, address: str) -> LiveKey | None:
        if self._failed.are_too_many(address):
            return self._live.get(sessions, max_age_seconds=REMEMBERED_SECONDS_UNDER_ATTACK).get(digest)
        with transaction(sessions) as session:
            return find_live(session, digest)
