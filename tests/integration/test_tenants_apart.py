"""Every route of the API, asked by other tenants for what is not theirs: they get nothing, and change nothing.

A route that is new in the OpenAPI document fails here until ROUTES says how it was tried.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from httpx import Response

from app.delivery.token import ReceiptTokens
from app.tenants.scopes import ALL_SCOPES, Scope
from app.users.cursor import Cursor
from tests.support.api import SERVICE_HEADERS, bearer, make_token
from tests.support.browser_keys import a_subscription, browser_keys
from tests.support.neighbours import Headers, Neighbour, Street, street

USER, TOPIC, TYPE, KEY, OTHER_KEY = "ada", "their-topic", "their-type", "their-key", "their-other-key"
CONTENT = {"title": "Their title", "body": "Their body", "type": TYPE}
OURS = {"title": "Ours", "body": "Ours", "type": "ours"}
NEXT_WEEK = (datetime.now(UTC) + timedelta(days=7)).isoformat()
BY_USER, ANONYMOUS, RENEWED = 1, 2, 3  # numbers of browsers

Check = Callable[[Response], bool]


@dataclass(frozen=True)
class Household:
    """A tenant, what is kept of it, and what no answer to others may hold."""

    street: Street
    owner: Neighbour
    outsider: Neighbour
    lacking: Mapping[Scope, Headers]
    ids: Mapping[str, str]
    secrets: tuple[str, ...]

    def ask(self, route: str, headers: Headers) -> Response:
        """Ask a route for what belongs to this household."""
        attempt = ROUTES[route]
        method, _, template = route.partition(" ")
        answer: Response = self.street.client.request(
            method,
            template.format(**self.ids),
            params=attempt.query,
            json=attempt.body(self) if attempt.body else None,
            headers={**attempt.headers, **headers},
        )
        return answer

    def leaked(self, answer: Response) -> list[str]:
        """Return which of the household's secrets an answer holds that its request did not."""
        asked = f"{answer.request.url} {answer.request.content.decode()} {answer.request.headers}"
        return [secret for secret in self.secrets if secret in answer.text and secret not in asked]


def _is_not_found(answer: Response) -> bool:
    return answer.status_code == 404


def _succeeds(answer: Response) -> bool:
    return answer.is_success and "idempotency-replayed" not in answer.headers


def _reaches_nobody(answer: Response) -> bool:
    return _succeeds(answer) and answer.json()["targeted"] == 0


def _holds(**members: Any) -> Check:
    return lambda answer: answer.is_success and {name: answer.json()[name] for name in members} == members


@dataclass(frozen=True)
class Attempt:
    """How a route is asked for what belongs to a household.

    `scope` is what it wants of an API key, None: it is public. `check` judges what outsiders are told who are let
    in. Where it `leaves_rows` of their own, only those who are never asked again try it.
    """

    scope: Scope | None
    check: Check = _is_not_found
    takes_users: bool = False
    takes_proof: bool = False  # in place of credentials
    leaves_rows: bool = False
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[Household], dict[str, Any]] | None = None


def _forged_token(household: Household) -> str:
    delivery = UUID(household.ids["notification_id"]), datetime.now(UTC)
    [token] = ReceiptTokens(b"a key of their own").make(*delivery, 3600, [household.ids["subscription_id"]])
    return token.decode("ascii")


_SECRET_SHOWN = {"X-Subscription-Auth": browser_keys(ANONYMOUS).auth}

ROUTES = {
    "POST /subscriptions/": Attempt(
        Scope.MANAGE, _succeeds, takes_users=True, leaves_rows=True, body=lambda _: a_subscription(BY_USER)
    ),
    "GET /subscriptions/{subscription_id}/": Attempt(Scope.READ, takes_users=True, headers=_SECRET_SHOWN),
    "PUT /subscriptions/{subscription_id}/": Attempt(
        Scope.MANAGE, takes_users=True, headers=_SECRET_SHOWN, body=lambda _: {"topics": [], "enabled": False}
    ),
    "DELETE /subscriptions/{subscription_id}/": Attempt(Scope.MANAGE, takes_users=True, headers=_SECRET_SHOWN),
    "POST /subscriptions/{subscription_id}/replace": Attempt(
        Scope.MANAGE,
        takes_users=True,
        takes_proof=True,
        body=lambda _: a_subscription(RENEWED, old_auth=browser_keys(ANONYMOUS).auth),
    ),
    "POST /notifications/send/": Attempt(
        Scope.SEND,
        _reaches_nobody,
        leaves_rows=True,
        headers={"Idempotency-Key": KEY},
        body=lambda household: {
            **OURS,
            "topics": [TOPIC],
            "user_ids": [USER],
            "subscription_ids": [household.ids["subscription_id"]],
        },
    ),
    "POST /notifications/broadcast/": Attempt(
        Scope.SEND, _succeeds, body=lambda _: {**OURS, "scheduled_at": NEXT_WEEK}
    ),
    "GET /notifications/history/": Attempt(Scope.READ, _holds(items=[], total=0), query={"type": TYPE}),
    "GET /notifications/by-key/{key}": Attempt(Scope.READ),
    "GET /notifications/{notification_id}/": Attempt(Scope.READ),
    "POST /notifications/{notification_id}/cancel": Attempt(Scope.SEND),
    "GET /notifications/{notification_id}/deliveries/": Attempt(Scope.READ, query={"cursor": UUID(int=0)}),
    "GET /notifications/{notification_id}/events": Attempt(Scope.READ),
    "DELETE /users/{user_id}/": Attempt(Scope.MANAGE, _holds(subscriptions=0, deliveries=0, notifications=0)),
    "GET /users/{user_id}/export/": Attempt(
        Scope.MANAGE, _holds(subscriptions=[], deliveries=[], notifications=[])
    ),
    "POST /receipts/": Attempt(
        None,
        lambda answer: answer.json()["type"] == "/problems/no-valid-receipt",
        body=lambda household: {"receipts": [{"token": _forged_token(household), "event": "displayed"}]},
    ),
    "GET /analytics/subscriptions/": Attempt(Scope.READ, _holds(total=0)),
    "GET /analytics/deliveries/": Attempt(Scope.READ, _holds(total=0), query={"type": TYPE}),
    "GET /vapid/public-key": Attempt(None, _succeeds, query={"tenant": "shop"}),
    "GET /health/": Attempt(None, _succeeds),
    "GET /health/live": Attempt(None, _succeeds),
    "GET /health/ready": Attempt(None, _succeeds),
    "GET /metrics/": Attempt(None, _succeeds),
}
GUARDED = [route for route, attempt in ROUTES.items() if attempt.scope is not None]


@pytest.fixture(scope="module")
def household(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Household]:
    with street(module_database_url, tmp_path_factory.mktemp("data")) as served:
        yield _furnished(served)


def _furnished(served: Street) -> Household:
    owner = served.move_in("shop", 1)

    def post(path: str, headers: Headers, **body: Any) -> dict[str, Any]:
        response = served.client.post(path, json=body, headers=headers)
        assert response.is_success, response.text
        answer: dict[str, Any] = response.json()
        return answer

    of_user = post("/subscriptions/", owner.user(USER), **a_subscription(BY_USER, topics=[TOPIC]))["id"]
    of_nobody = post("/subscriptions/", owner.user(None), **a_subscription(ANONYMOUS, topics=[TOPIC]))["id"]
    sent = post("/notifications/send/", owner.service | {"Idempotency-Key": KEY}, **CONTENT, topics=[TOPIC])
    assert sent["sent"] == 2
    with_key = owner.service | {"Idempotency-Key": OTHER_KEY}
    later = post("/notifications/broadcast/", with_key, **CONTENT, scheduled_at=NEXT_WEEK)
    notification_id = later["notification_id"]
    ids = {"subscription_id": of_nobody, "notification_id": notification_id, "key": OTHER_KEY, "user_id": USER}
    browsers = [browser_keys(number) for number in (BY_USER, ANONYMOUS)]
    secrets = (
        *(of_user, of_nobody, sent["notification_id"], notification_id, TOPIC, *CONTENT.values()),
        *(secret for browser in browsers for secret in (browser.auth, browser.p256dh)),
        *(a_subscription(number)["endpoint"] for number in (BY_USER, ANONYMOUS)),
    )
    lacking = {scope: served.key_of(owner.id, ALL_SCOPES - {scope}) for scope in Scope}
    return Household(served, owner, served.move_in("outsider", 2), lacking, ids, secrets)


def test_every_route_of_the_document_is_tried_here(household: Household) -> None:
    document = household.street.client.get("/openapi.json").json()

    routes = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}

    assert routes == set(ROUTES)


def test_what_is_tried_here_is_there(household: Household) -> None:
    reads = [route for route in GUARDED if route.startswith("GET") and not route.endswith("/events")]

    answers = {route: household.ask(route, household.owner.service) for route in reads}

    assert {route: answer.status_code for route, answer in answers.items()} == dict.fromkeys(reads, 200)
    assert household.leaked(answers["GET /users/{user_id}/export/"])
    assert household.leaked(answers["GET /notifications/by-key/{key}"])


@pytest.mark.parametrize("route", ROUTES)
def test_other_tenants_get_nothing_and_change_nothing(household: Household, route: str) -> None:
    attempt = ROUTES[route]
    if attempt.leaves_rows:
        outsider = household.street.move_in(f"outsider-{list(ROUTES).index(route)}", 2)
        services, users = {"its key": outsider.service}, {"its user": outsider.user(USER)}
    else:
        outsider = household.outsider
        services = {"its key": outsider.service, "API_KEY": dict(SERVICE_HEADERS)}
        users = {"its user": outsider.user(USER), "the default tenant's": bearer(make_token(user_id=USER))}
    users["its browser"] = outsider.user(None)
    before = household.street.rows_of(household.owner.id)

    answers = {who: household.ask(route, headers) for who, headers in (services | users).items()}

    assert household.street.rows_of(household.owner.id) == before
    assert {who: leaked for who, answer in answers.items() if (leaked := household.leaked(answer))} == {}
    for who, answer in answers.items():
        if who in services or attempt.takes_users or attempt.scope is None:
            assert attempt.check(answer), f"{who}: {answer.status_code} {answer.text}"
        else:
            assert answer.status_code == 403, f"{who}: {answer.text}"


@pytest.mark.parametrize("route", GUARDED)
def test_a_key_without_the_scope_gets_nothing_and_changes_nothing(household: Household, route: str) -> None:
    scope = ROUTES[route].scope
    assert scope is not None
    before = household.street.rows_of(household.owner.id)

    answer = household.ask(route, household.lacking[scope])

    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/scope-missing")
    assert answer.json()["scope"] == scope
    assert household.leaked(answer) == []
    assert household.street.rows_of(household.owner.id) == before


@pytest.mark.parametrize("route", [route for route in GUARDED if not ROUTES[route].takes_proof])
def test_nobody_at_all_gets_nothing(household: Household, route: str) -> None:
    answer = household.ask(route, {})

    assert answer.status_code == 401
    assert household.leaked(answer) == []


def test_a_cursor_opens_nothing_by_itself(household: Household) -> None:
    before_all = Cursor(datetime.now(UTC) + timedelta(days=1), UUID(int=0), UUID(int=0))
    path = f"/users/{USER}/export/?cursor={before_all}"

    theirs = household.street.client.get(path, headers=household.owner.service)
    to_another = household.street.client.get(path, headers=dict(SERVICE_HEADERS))

    assert len(theirs.json()["deliveries"]) == 1
    assert to_another.json()["deliveries"] == []
