import hashlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.testclient import TestClient

from app.db.session import SessionFactory, transaction
from app.ids import new_id
from app.models import DEFAULT_TENANT_ID, ApiKey, Tenant
from app.tenants.scopes import Scope
from app.web.auth import Caller, CallerDep, ReaderDep, require
from app.web.routing import api_router
from tests.support.api import API_KEY, SERVICE_HEADERS, bearer, make_token
from tests.support.signing import key_pair
from tests.unit.web.conftest import EdgeFactory

Headers = dict[str, str]


def _doors() -> APIRouter:
    router = api_router(prefix="/doors")

    @router.get("/anybody/")
    def anybody(caller: CallerDep) -> dict[str, Any]:
        return {
            "tenant_id": caller.tenant_id,
            "kind": caller.kind,
            "user_id": caller.user_id,
            "key": caller.rate_key,
        }

    @router.get("/services/")
    def services(caller: ReaderDep) -> str:
        return caller.rate_key

    @router.put("/managed/")
    def managed(caller: Annotated[Caller, Depends(require(Scope.MANAGE))]) -> str:
        return caller.kind

    return router


@pytest.fixture
def client(edge: EdgeFactory) -> TestClient:
    return edge(_doors())


@pytest.fixture
def client_with_database(edge: EdgeFactory, sessions: SessionFactory) -> TestClient:
    return edge(_doors(), configure=_use(sessions))


def _use(sessions: SessionFactory) -> Callable[[FastAPI], None]:
    def use_database(app: FastAPI) -> None:
        app.state.sessions = sessions

    return use_database


def _store_key(
    sessions: SessionFactory,
    key: str,
    *scopes: str,
    tenant_id: Any = DEFAULT_TENANT_ID,
    revoked: bool = False,
    networks: Sequence[str] = (),
) -> ApiKey:
    with transaction(sessions) as session:
        stored = ApiKey(
            id=new_id(),
            tenant_id=tenant_id,
            name="blog",
            prefix=key[:8],
            key_hash=hashlib.sha256(key.encode()).digest(),
            scopes=list(scopes),
            allowed_networks=list(networks),
        )
        session.add(stored)
        session.flush()
        if revoked:
            stored.revoked_at = stored.created_at
    return stored


def test_the_api_key_of_the_settings_is_a_service_of_the_default_tenant(client: TestClient) -> None:
    caller = client.get("/doors/anybody/", headers=SERVICE_HEADERS).json()

    assert caller == {"tenant_id": str(DEFAULT_TENANT_ID), "kind": "service", "user_id": None, "key": "key:default"}
    assert client.get("/doors/services/", headers=SERVICE_HEADERS).status_code == 200


def test_a_token_is_a_user(client: TestClient) -> None:
    caller = client.get("/doors/anybody/", headers=bearer(make_token(user_id=42))).json()

    assert (caller["kind"], caller["user_id"]) == ("user", "42")
    assert caller["key"].endswith(":42")


def test_an_anonymous_token_counts_by_address(client: TestClient, anonymous_headers: Headers) -> None:
    caller = client.get("/doors/anybody/", headers=anonymous_headers).json()

    assert (caller["kind"], caller["user_id"], caller["key"]) == ("anonymous", None, "address:testclient")


@pytest.mark.parametrize("path", ["/doors/anybody/", "/doors/services/"])
@pytest.mark.parametrize("headers", [{}, {"X-API-Key": ""}, {"Authorization": ""}, {"Cookie": f"key={API_KEY}"}])
def test_without_credentials_the_answer_is_a_401_that_names_them(
    client: TestClient, path: str, headers: Headers
) -> None:
    response = client.get(path, headers=headers)

    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert "X-API-Key" in response.json()["detail"]


@pytest.mark.parametrize("path", ["/doors/anybody/", "/doors/services/"])
def test_an_invalid_token_is_a_401_that_says_why(client: TestClient, path: str) -> None:
    response = client.get(path, headers=bearer("a.b.c"))

    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert response.json()["type"] == "/problems/invalid-token"


def test_an_expired_token_has_a_code_of_its_own(client: TestClient) -> None:
    response = client.get("/doors/anybody/", headers=bearer(make_token(user_id="1", exp=1_000_000_000)))

    assert (response.status_code, response.json()["type"]) == (401, "/problems/token-expired")


@pytest.mark.parametrize(
    "value", ["Basic dXNlcjpwYXNz", "Token abc", "Bearer", "bearer ", API_KEY, f"Bearer{API_KEY}"]
)
def test_another_authorization_is_a_401(client: TestClient, value: str) -> None:
    response = client.get("/doors/anybody/", headers={"Authorization": value})

    assert response.status_code == 401


def test_the_scheme_is_taken_in_any_case(client: TestClient) -> None:
    response = client.get("/doors/anybody/", headers={"Authorization": f"bearer  {make_token(user_id='1')} "})

    assert response.status_code == 200


def test_a_users_token_does_not_open_what_is_for_services(client: TestClient, anonymous_headers: Headers) -> None:
    for headers in (bearer(make_token(user_id="1")), anonymous_headers):
        response = client.get("/doors/services/", headers=headers)

        assert (response.status_code, response.json()["type"]) == (403, "/problems/api-key-needed")


@pytest.mark.parametrize(
    "key", ["wrong", API_KEY[:-1], API_KEY + "x", API_KEY.upper(), "x" * 10_000, "\xff\xfe", "a\tb"]
)
def test_a_wrong_api_key_is_a_401(client_with_database: TestClient, key: str) -> None:
    response = client_with_database.get("/doors/anybody/", headers=[(b"X-API-Key", key.encode("latin-1"))])

    assert (response.status_code, response.json()["type"]) == (401, "/problems/invalid-api-key")
    assert key not in response.text


def test_a_wrong_api_key_is_not_made_good_by_a_token(client_with_database: TestClient) -> None:
    headers = {"X-API-Key": "wrong", **bearer(make_token(user_id="1"))}

    assert client_with_database.get("/doors/anybody/", headers=headers).status_code == 401


def test_a_stored_key_is_a_service_of_its_tenant(
    client_with_database: TestClient, sessions: SessionFactory
) -> None:
    tenant_id = new_id()
    with transaction(sessions) as session:
        session.add(Tenant(id=tenant_id, slug="other", name="Other"))
    stored = _store_key(sessions, "pk_other_0123456789", tenant_id=tenant_id)

    caller = client_with_database.get("/doors/anybody/", headers={"X-API-Key": "pk_other_0123456789"}).json()

    assert (caller["tenant_id"], caller["kind"]) == (str(tenant_id), "service")
    assert caller["key"] == f"key:{stored.id}"


def test_a_revoked_key_is_a_401(client_with_database: TestClient, sessions: SessionFactory) -> None:
    _store_key(sessions, "pk_old_0123456789", revoked=True)

    response = client_with_database.get("/doors/anybody/", headers={"X-API-Key": "pk_old_0123456789"})

    assert response.status_code == 401


def test_a_key_reaches_what_its_scopes_name(client_with_database: TestClient, sessions: SessionFactory) -> None:
    _store_key(sessions, "pk_reader_0123456789", "read", "unheard-of")
    headers = {"X-API-Key": "pk_reader_0123456789"}

    refused = client_with_database.put("/doors/managed/", headers=headers)

    assert client_with_database.get("/doors/services/", headers=headers).status_code == 200
    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/scope-missing")
    assert refused.json()["scope"] == "manage"
    assert "lacks the scope manage" in refused.json()["detail"]


def test_scopes_do_not_concern_users(client: TestClient) -> None:
    assert client.put("/doors/managed/", headers=bearer(make_token(user_id="1"))).json() == "user"


def test_the_api_key_of_the_settings_has_every_scope(client: TestClient) -> None:
    assert client.put("/doors/managed/", headers=SERVICE_HEADERS).json() == "service"


def test_a_key_tied_to_networks_is_taken_from_there_only(edge: EdgeFactory, sessions: SessionFactory) -> None:
    client = edge(_doors(), configure=_use(sessions), trusted_proxies="192.0.2.0/24")
    behind_proxy = TestClient(client.app, client=("192.0.2.1", 50_000))
    _store_key(sessions, "pk_office_0123456789", "read", networks=["10.0.0.0/8", "fd00::/8", "made up by hand"])

    answers = {
        address: asker.get(
            "/doors/services/", headers={"X-API-Key": "pk_office_0123456789", "X-Forwarded-For": address}
        )
        for asker, addresses in (
            (behind_proxy, ("10.1.2.3", "fd00::1", "::ffff:10.1.2.4", "11.1.2.3", "fe80::1")),
            (client, ("10.9.9.9",)),  # no proxy of ours: whatever it writes there, it comes from elsewhere
        )
        for address in addresses
    }

    assert [answer.status_code for answer in answers.values()] == [200, 200, 200, 403, 403, 403]
    assert answers["fe80::1"].json()["type"] == "/problems/network-not-allowed"
    assert "not taken from fe80::1" in answers["fe80::1"].json()["detail"]
    assert "not taken from testclient" in answers["10.9.9.9"].json()["detail"]


def test_a_proxy_that_nobody_named_lends_a_key_its_network_to_nobody(
    edge: EdgeFactory, sessions: SessionFactory
) -> None:
    proxy = TestClient(edge(_doors(), configure=_use(sessions)).app, client=("10.0.0.1", 50_000))
    _store_key(sessions, "pk_office_0123456789", "read", networks=["10.0.0.0/8"])
    headers = {"X-API-Key": "pk_office_0123456789"}

    by_itself = proxy.get("/doors/services/", headers=headers)
    passed_on = proxy.get("/doors/services/", headers=headers | {"X-Forwarded-For": "203.0.113.9"})

    assert (by_itself.status_code, passed_on.status_code) == (200, 403)
    assert passed_on.json()["type"] == "/problems/network-not-allowed"
    assert "passed on by 10.0.0.1" in passed_on.json()["detail"]
    assert "TRUSTED_PROXIES" in passed_on.json()["detail"]


def test_networks_that_nobody_can_read_admit_nobody(
    client_with_database: TestClient, sessions: SessionFactory
) -> None:
    _store_key(sessions, "pk_office_0123456789", "read", networks=["made up by hand"])

    response = client_with_database.get("/doors/services/", headers={"X-API-Key": "pk_office_0123456789"})

    assert response.status_code == 403


def test_too_many_wrong_credentials_are_a_429_and_right_ones_pass(
    edge: EdgeFactory, sessions: SessionFactory
) -> None:
    client = edge(_doors(), configure=_use(sessions), rate_limit_failed_login="2/hour")
    forged = bearer(make_token(user_id="1", secret="f" * 40))
    expired = bearer(make_token(user_id="1", exp=1_000_000_000))

    statuses = [
        client.get("/doors/anybody/", headers=headers).status_code
        for headers in (expired, expired, {"X-API-Key": "wrong"}, {}, forged, forged, {"X-API-Key": "wrong"})
    ]
    limited = client.get("/doors/anybody/", headers=forged)

    assert statuses == [401, 401, 401, 401, 401, 429, 429]
    assert 3500 < int(limited.headers["retry-after"]) <= 3601
    assert limited.json()["type"] == "/problems/rate-limited"
    for right in (SERVICE_HEADERS, bearer(make_token(user_id="1"))):
        assert client.get("/doors/anybody/", headers=right).status_code == 200
    assert client.get("/doors/anybody/", headers=expired).json()["type"] == "/problems/token-expired"


def test_a_user_of_a_tenant_is_counted_as_its_own(edge: EdgeFactory, sessions: SessionFactory) -> None:
    private, public = key_pair("RSA")
    with transaction(sessions) as session:
        tenant = Tenant(id=new_id(), slug="shop", name="Shop", jwt_issuer="shop", jwt_public_key=public)
        session.add(tenant)
    client = edge(_doors(), configure=_use(sessions))

    token = make_token(user_id="1", iss="shop", secret=private, algorithm="RS256")
    theirs = client.get("/doors/anybody/", headers=bearer(token)).json()
    ours = client.get("/doors/anybody/", headers=bearer(make_token(user_id="1", iss="blog"))).json()

    assert theirs == {"tenant_id": str(tenant.id), "kind": "user", "user_id": "1", "key": f"user:{tenant.id}:1"}
    assert (ours["tenant_id"], ours["key"]) == (str(DEFAULT_TENANT_ID), f"user:{DEFAULT_TENANT_ID}:1")


def test_the_document_offers_both_ways_in(client: TestClient) -> None:
    document = client.get("/openapi.json").json()

    assert document["components"]["securitySchemes"]["ApiKey"]["name"] == "X-API-Key"
    assert document["components"]["securitySchemes"]["Bearer"]["bearerFormat"] == "JWT"
    operation = document["paths"]["/doors/anybody/"]["get"]
    assert operation["security"] == [{"ApiKey": []}, {"Bearer": []}]
    assert {"401", "403"} <= set(operation["responses"])
