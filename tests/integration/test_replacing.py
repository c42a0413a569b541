"""A browser renews its subscription: `POST /subscriptions/{id}/replace`, asked over HTTP."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy import func, select, text, update

from app.db.session import SessionFactory, create_sessions, transaction
from app.ids import new_id
from app.keyring.service import Keyring
from app.main import create_app
from app.models import DEFAULT_TENANT_ID, Subscription, VapidKey
from app.push import keys as push_keys
from tests.support.api import SECRET_KEY, SERVICE_HEADERS, bearer, build_settings, make_token
from tests.support.browser_keys import a_subscription, browser_keys
from tests.support.databases import dispose, temporary_database
from tests.support.waiting import until

Headers = dict[str, str]
NOW = datetime(2024, 5, 1, tzinfo=UTC)


def user(name: str) -> Headers:
    return bearer(make_token(user_id=name, token_type="access"))


ALICE, BOB, NO_USER = user("alice"), user("bob"), bearer(make_token(push_anonymous=True))


@dataclass
class Service:
    """One app for all of these tests; each browser has a number of its own."""

    client: TestClient
    sessions: SessionFactory
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def subscribe(self, headers: Headers, **members: Any) -> tuple[int, str]:
        """Return the number of a new browser and the id of its subscription."""
        number = next(self.numbers)
        answer = self.client.post("/subscriptions/", json=a_subscription(number, **members), headers=headers)
        assert answer.status_code == 201, answer.text
        return number, answer.json()["id"]

    def replace(
        self, subscription_id: object, old: int, new: int, headers: Headers | None = None, **members: Any
    ) -> Response:
        body = a_subscription(new, **{"old_auth": browser_keys(old).auth, **members})
        return self.client.post(f"/subscriptions/{subscription_id}/replace", json=body, headers=headers)

    def row(self, subscription_id: str) -> Subscription:
        with transaction(self.sessions) as session:
            return session.get_one(Subscription, UUID(subscription_id))

    def mark(self, subscription_id: str, **values: Any) -> None:
        with transaction(self.sessions) as session:
            session.execute(update(Subscription).where(Subscription.id == UUID(subscription_id)).values(**values))

    def holders_of(self, number: int) -> list[str]:
        """Return the ids of the subscriptions that have this browser's endpoint now."""
        with transaction(self.sessions) as session:
            return [
                str(found)
                for found in session.scalars(
                    select(Subscription.id).where(
                        Subscription.endpoint == a_subscription(number)["endpoint"],
                        Subscription.deleted_at.is_(None),
                    )
                )
            ]


@pytest.fixture(scope="module")
def service(
    postgres_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    with temporary_database(postgres_url, template=template_database) as url:
        settings = build_settings(
            database_url=url,
            data_dir=tmp_path_factory.mktemp("data"),
            cors_allowed_origins="https://shop.example",
            rate_limit_subscription="1000/hour",
        )
        sessions = create_sessions(url)
        with TestClient(create_app(settings)) as client:
            yield Service(client, sessions)
        dispose(sessions)


def test_a_service_worker_replaces_a_subscription_with_nothing_but_its_secret(service: Service) -> None:
    old, subscription_id = service.subscribe(ALICE, topics=["blog"])
    new = next(service.numbers)

    answer = service.replace(subscription_id, old, new)

    told, row = answer.json(), service.row(subscription_id)
    assert answer.status_code == 200
    assert told["id"] == subscription_id
    assert (told["user_id"], told["topics"], told["enabled"]) == ("alice", ["blog"], True)
    assert (row.endpoint, row.p256dh, row.auth) == (
        *(a_subscription(new)["endpoint"], browser_keys(new).p256dh),
        browser_keys(new).auth,
    )
    assert (service.holders_of(old), service.holders_of(new)) == ([], [subscription_id])


def test_it_comes_back_to_life_but_is_not_established(service: Service) -> None:
    old, subscription_id = service.subscribe(ALICE)
    service.mark(
        subscription_id,
        **{"enabled": False, "gone_at": NOW, "key_mismatch_at": NOW, "quarantined_at": NOW},
        **{"quarantine_id": new_id(), "failure_count": 3, "first_accepted_at": NOW, "last_used": NOW},
        **{"last_failure_at": NOW, "last_failure_reason": "gone"},
    )

    service.replace(subscription_id, old, next(service.numbers))

    row = service.row(subscription_id)
    marks = (row.gone_at, row.key_mismatch_at, row.quarantined_at, row.quarantine_id, row.first_accepted_at)
    assert marks == (None,) * 5
    assert (row.enabled, row.failure_count, row.last_failure_at, row.last_failure_reason) == (True, 0, None, None)
    assert row.last_used == NOW


@pytest.mark.parametrize(("said", "is_enabled"), [({}, False), ({"enabled": True}, True)])
def test_what_its_user_has_switched_off_stays_off_unless_the_request_says_otherwise(
    service: Service, said: dict[str, bool], is_enabled: bool
) -> None:
    old, subscription_id = service.subscribe(ALICE)
    service.client.put(f"/subscriptions/{subscription_id}/", json={"enabled": False}, headers=ALICE)

    answer = service.replace(subscription_id, old, next(service.numbers), **said)

    assert answer.json()["enabled"] is is_enabled


def test_topics_that_are_given_replace_the_stored_ones(service: Service) -> None:
    old, subscription_id = service.subscribe(ALICE, topics=["blog"])

    answer = service.replace(subscription_id, old, next(service.numbers), topics=["news"])

    assert answer.json()["topics"] == ["news"]


def test_the_same_again_is_answered_the_same(service: Service) -> None:
    old, subscription_id = service.subscribe(ALICE, topics=["blog"])
    new = next(service.numbers)

    first, again = (service.replace(subscription_id, old, new) for _ in range(2))

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() | {"updated_at": None} == again.json() | {"updated_at": None}


def test_a_former_secret_opens_nothing_else(service: Service) -> None:
    old, subscription_id = service.subscribe(ALICE)
    new, another = next(service.numbers), next(service.numbers)
    service.replace(subscription_id, old, new)

    attempts = [
        service.replace(subscription_id, old, another),
        service.replace(subscription_id, old, new, keys=browser_keys(another).members),
        service.replace(subscription_id, old, new, keys={**browser_keys(new).members, "auth": "A" * 22}),
    ]

    assert [attempt.status_code for attempt in attempts] == [404, 404, 404]
    assert service.row(subscription_id).auth == browser_keys(new).auth


@pytest.mark.parametrize(
    ("owner", "caller", "status"),
    [
        (ALICE, ALICE, 200),
        (ALICE, NO_USER, 200),
        (ALICE, dict(SERVICE_HEADERS), 200),
        (ALICE, BOB, 404),
        (NO_USER, NO_USER, 200),
        (NO_USER, BOB, 200),
        (NO_USER, None, 200),
        (ALICE, bearer(make_token(user_id="alice", secret="x" * 32)), 401),
        (ALICE, {"X-API-Key": "no key of ours"}, 401),
        (ALICE, {"Authorization": "Basic YWxpY2U6"}, 401),
    ],
)
def test_credentials_are_not_needed_but_have_to_be_good_and_not_anothers(
    service: Service, owner: Headers, caller: Headers | None, status: int
) -> None:
    old, subscription_id = service.subscribe(owner)

    answer = service.replace(subscription_id, old, next(service.numbers), caller)

    assert answer.status_code == status
    assert service.holders_of(old) == ([] if status == 200 else [subscription_id])
    assert service.row(subscription_id).user_id == ("alice" if owner is ALICE else None)


def test_a_wrong_secret_a_foreign_id_and_none_look_the_same(service: Service) -> None:
    old, subscription_id = service.subscribe(ALICE)
    wrong, deleted_id = next(service.numbers), service.subscribe(ALICE)[1]
    service.client.delete(f"/subscriptions/{deleted_id}/", headers=ALICE)

    answers = [
        service.replace(subscription_id, wrong, wrong),
        service.replace(subscription_id, wrong, wrong, ALICE),
        service.replace(subscription_id, wrong, wrong, dict(SERVICE_HEADERS)),
        service.replace(subscription_id, old, wrong, BOB),
        service.replace(uuid4(), old, wrong),
        service.replace(deleted_id, old, wrong),
    ]

    problems = [answer.json() | {"request_id": None} for answer in answers]
    assert [answer.status_code for answer in answers] == [404] * 6
    assert all(problem == problems[0] for problem in problems)
    assert browser_keys(old).auth not in answers[0].text


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"old_auth": None}, "invalid"),
        ({"old_auth": "too short"}, "invalid"),
        ({"keys": {"p256dh": "BA", "auth": "A"}}, "invalid"),
        ({"endpoint": "https://fcm.googleapis.com.evil.example/a"}, "endpoint-not-allowed"),
        ({"application_server_key": browser_keys(1).p256dh}, "unknown-application-server-key"),
    ],
)
def test_what_no_browser_gives_is_refused(service: Service, members: dict[str, Any], code: str) -> None:
    old, subscription_id = service.subscribe(ALICE)

    answer = service.replace(subscription_id, old, next(service.numbers), **members)

    assert (answer.status_code, answer.json()["type"]) == (422, f"/problems/{code}")
    assert service.holders_of(old) == [subscription_id]


def test_the_body_cannot_name_a_user_here_either(service: Service) -> None:
    old, subscription_id = service.subscribe(ALICE)

    answer = service.replace(subscription_id, old, next(service.numbers), user_id="bob", id=str(uuid4()))

    assert (answer.json()["user_id"], answer.json()["id"]) == ("alice", subscription_id)


@pytest.mark.parametrize(
    ("other_owner", "shows_its_keys", "status"),
    [(ALICE, False, 200), (ALICE, True, 200), (BOB, True, 200), (BOB, False, 409), (NO_USER, False, 409)],
)
def test_an_endpoint_that_another_row_has_is_taken_from_its_own_user_or_with_its_keys(
    service: Service, other_owner: Headers, shows_its_keys: bool, status: int
) -> None:
    old, subscription_id = service.subscribe(ALICE, topics=["mine"])
    new, other_id = service.subscribe(other_owner, topics=["theirs"])
    keys = browser_keys(new if shows_its_keys else next(service.numbers)).members

    answer = service.replace(subscription_id, old, new, keys=keys)

    assert answer.status_code == status
    assert service.holders_of(new) == [subscription_id if status == 200 else other_id]
    assert (service.row(other_id).deleted_at is not None) == (status == 200)
    assert service.row(subscription_id).topics == ["mine"]


def test_two_rows_without_a_user_are_not_the_same_owners(service: Service) -> None:
    old, subscription_id = service.subscribe(NO_USER)
    new, other_id = service.subscribe(NO_USER)

    answer = service.replace(subscription_id, old, new, keys=browser_keys(next(service.numbers)).members)

    assert (answer.status_code, service.holders_of(new)) == (409, [other_id])


def test_new_keys_for_the_same_endpoint_leave_it_established(service: Service) -> None:
    old, subscription_id = service.subscribe(ALICE)
    service.mark(subscription_id, first_accepted_at=NOW)
    new = next(service.numbers)

    answer = service.replace(subscription_id, old, old, keys=browser_keys(new).members)

    row = service.row(subscription_id)
    assert answer.status_code == 200
    assert (row.auth, row.first_accepted_at) == (browser_keys(new).auth, NOW)


def test_it_keeps_its_vapid_key_unless_the_browser_names_another(service: Service) -> None:
    old, subscription_id = service.subscribe(ALICE)
    before = service.row(subscription_id).vapid_key_id
    with transaction(service.sessions) as session:
        added = Keyring(SECRET_KEY).add(session, DEFAULT_TENANT_ID, push_keys.VapidKey.generate())
        added_id, public_key = added.id, added.public_key
    new, newer = next(service.numbers), next(service.numbers)

    service.replace(subscription_id, old, new)
    unnamed = service.row(subscription_id)
    service.replace(subscription_id, new, newer, application_server_key=public_key)
    named = service.row(subscription_id)

    assert (unnamed.vapid_key_id, unnamed.key_is_assumed) == (before, True)
    assert (named.vapid_key_id, named.key_is_assumed) == (added_id, False)


def test_one_whose_vapid_key_is_retired_is_taken_to_have_the_active_one(service: Service) -> None:
    old, subscription_id = service.subscribe(ALICE)
    with transaction(service.sessions) as session:
        retired = session.get_one(VapidKey, service.row(subscription_id).vapid_key_id)
        added_id = Keyring(SECRET_KEY).add(session, DEFAULT_TENANT_ID, push_keys.VapidKey.generate()).id
        retired.retired_at = NOW

    answer = service.replace(subscription_id, old, next(service.numbers))

    assert (answer.status_code, service.row(subscription_id).vapid_key_id) == (200, added_id)


def test_a_page_of_an_allowed_origin_may_ask_for_it(service: Service) -> None:
    preflight = service.client.options(
        f"/subscriptions/{uuid4()}/replace",
        headers={
            "Origin": "https://shop.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        },
    )

    assert (preflight.status_code, preflight.headers["Access-Control-Allow-Origin"]) == (
        200,
        "https://shop.example",
    )


def test_the_document_says_that_no_credentials_will_do(service: Service) -> None:
    document = service.client.get("/openapi.json").json()

    operation = document["paths"]["/subscriptions/{subscription_id}/replace"]["post"]
    assert {} in operation["security"]
    assert {"ApiKey": []} in operation["security"]


def at_the_same_moment(service: Service, requests: list[tuple[str, int, int]], *, held: list[str]) -> list[int]:
    """Replace (id, old, new) all at once: none goes on before all have come as far as the held rows let them."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def are_waiting() -> bool:
        with transaction(service.sessions) as session:
            return session.scalars(waiting).one() == len(requests)

    with ThreadPoolExecutor(len(requests)) as threads:
        with transaction(service.sessions) as session:
            rows = select(Subscription.id).where(Subscription.id.in_(map(UUID, held))).order_by(Subscription.id)
            session.execute(rows.with_for_update())
            answers = [threads.submit(service.replace, *request) for request in requests]
            until(are_waiting, "the requests meet")
        return sorted(answer.result(60).status_code for answer in answers)


def test_two_who_replace_the_same_one_at_once_leave_one_of_theirs(service: Service) -> None:
    old, subscription_id = service.subscribe(ALICE)
    first, second = next(service.numbers), next(service.numbers)

    statuses = at_the_same_moment(
        service, [(subscription_id, old, first), (subscription_id, old, second)], held=[subscription_id]
    )

    assert statuses == [200, 404]
    assert len(service.holders_of(first) + service.holders_of(second)) == 1


def test_two_that_want_each_others_endpoint_do_not_wait_for_each_other_for_ever(service: Service) -> None:
    one, one_id = service.subscribe(ALICE)
    two, two_id = service.subscribe(ALICE)

    statuses = at_the_same_moment(service, [(one_id, one, two), (two_id, two, one)], held=[one_id, two_id])

    with transaction(service.sessions) as session:
        alive = session.scalars(
            select(func.count()).where(
                Subscription.id.in_((UUID(one_id), UUID(two_id))), Subscription.deleted_at.is_(None)
            )
        ).one()
    assert statuses == [200, 404]
    assert alive == 1


def test_without_credentials_the_address_is_what_requests_are_counted_by(service: Service) -> None:
    old, subscription_id = service.subscribe(ALICE)

    remaining = [
        int(service.replace(subscription_id, old, old, headers).headers["X-RateLimit-Remaining"])
        for headers in (None, NO_USER, ALICE, None)
    ]

    assert remaining[0] - remaining[1] == 1  # both are the same address
    assert remaining[1] - remaining[3] == 1  # alice was counted by her name
