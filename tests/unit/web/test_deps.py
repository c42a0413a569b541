from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from app.db.session import SessionFactory, transaction
from app.errors import Conflict
from app.ids import new_id
from app.models import Tenant
from app.web.deps import SessionDep
from app.web.routing import api_router
from tests.unit.web.conftest import EdgeFactory

SLUG = "new-tenant"


@pytest.fixture
def client(edge: EdgeFactory, sessions: SessionFactory) -> TestClient:
    router = api_router(prefix="/tenants")

    @router.post("/", status_code=201)
    def add_tenant(session: SessionDep, fails: str = "") -> UUID:
        tenant = Tenant(id=new_id(), slug=SLUG, name="New")
        session.add(tenant)
        if fails == "refused":
            raise Conflict("Not this one.")
        if fails == "at-commit":
            event.listen(session, "before_commit", _lose_the_connection)
        return tenant.id

    def use_database(app: FastAPI) -> None:
        app.state.sessions = sessions

    return edge(router, configure=use_database)


def _lose_the_connection(session: Session) -> None:
    session.connection().invalidate()
    session.connection()


def _is_stored(sessions: SessionFactory) -> bool:
    with transaction(sessions) as session:
        return session.scalars(select(Tenant).where(Tenant.slug == SLUG)).one_or_none() is not None


def test_a_request_is_committed_when_its_answer_arrives(client: TestClient, sessions: SessionFactory) -> None:
    response = client.post("/tenants/")

    assert response.status_code == 201
    assert _is_stored(sessions)


def test_a_refused_request_leaves_nothing_behind(client: TestClient, sessions: SessionFactory) -> None:
    response = client.post("/tenants/?fails=refused")

    assert response.status_code == 409
    assert not _is_stored(sessions)


def test_a_failed_commit_is_never_a_201(client: TestClient, sessions: SessionFactory) -> None:
    response = client.post("/tenants/?fails=at-commit")

    assert response.status_code >= 500
    assert response.headers["content-type"] == "application/problem+json"
    assert not _is_stored(sessions)
