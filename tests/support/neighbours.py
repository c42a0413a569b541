"""Two tenants on one service: whose rows are whose, and who tries to reach over the fence."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.db.base import Base
from app.db.session import SessionFactory, create_sessions, transaction
from app.keyring.service import Keyring
from app.main import create_app
from app.models import Tenant
from app.tenants import api_keys, service
from app.tenants.scopes import ALL_SCOPES, Scope
from app.tenants.service import TrustedIssuer
from app.web import auth
from app.workers import opening
from tests.support.api import SECRET_KEY, bearer, build_settings, make_token
from tests.support.databases import dispose
from tests.support.senders import ScriptedSender
from tests.support.signing import key_pair

Headers = dict[str, str]


@dataclass(frozen=True)
class Neighbour:
    """A tenant with an issuer of its own, and the ways in that belong to it."""

    id: UUID
    slug: str
    service: Headers
    number: int

    def user(self, user_id: str | None) -> Headers:
        """Return the headers of one of its users; None: of an anonymous browser."""
        claims: dict[str, Any] = {"push_anonymous": True} if user_id is None else {"user_id": user_id}
        private = key_pair("P-256", self.number)[0]
        return bearer(make_token(iss=self.slug, secret=private, algorithm="ES256", **claims))


@dataclass
class Street:
    """One service, and its database."""

    app: FastAPI
    client: TestClient
    sessions: SessionFactory

    def move_in(self, slug: str, number: int) -> Neighbour:
        """Make a tenant with an API key that may do all."""
        with transaction(self.sessions) as session:
            trusted = TrustedIssuer(slug, key_pair("P-256", number)[1])
            tenant = service.create(session, Keyring(SECRET_KEY), slug, trusted=trusted, own_issuer=None)
        # Which issuers there are is remembered for seconds: forget that.
        state = self.app.state
        auth.install(self.app, state.settings, state.rate_limits)
        return Neighbour(tenant.id, slug, self.key_of(tenant.id, ALL_SCOPES), number)

    def key_of(self, tenant_id: UUID, scopes: frozenset[Scope]) -> Headers:
        """Make an API key with these scopes, and return it as a header."""
        with transaction(self.sessions) as session:
            name = " ".join(sorted(scopes))
            tenant = session.get_one(Tenant, tenant_id)
            return {"X-API-Key": api_keys.create(session, tenant, name, scopes=scopes)[0]}

    def rows_of(self, tenant_id: UUID) -> dict[str, list[Any]]:
        """Return every row of a tenant, by table; but not when its own keys were used last."""
        rows = {}
        with transaction(self.sessions) as session:
            for table in Base.metadata.sorted_tables:
                if "tenant_id" in table.c:
                    columns = [column for column in table.c if column.name != "last_used_at"]
                    found = session.execute(select(*columns).where(table.c.tenant_id == tenant_id)).all()
                    rows[table.name] = sorted(tuple(map(repr, row)) for row in found)
        return rows


@contextmanager
def street(database_url: str, data_dir: Path) -> Iterator[Street]:
    """Serve the app, with a sender that reaches every push service in the world, and no network."""
    sessions = create_sessions(database_url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "create_sender", lambda *_, **__: ScriptedSender())
        app = create_app(build_settings(database_url=database_url, data_dir=data_dir))
        with TestClient(app) as client:
            yield Street(app, client, sessions)
    dispose(sessions)
