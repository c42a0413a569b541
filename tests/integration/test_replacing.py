"""Who may renew a subscription, and take the endpoint of another: who shows its secret, also two at once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, text

from app.db.session import transaction
from app.models import Subscription
from tests.support.api import SERVICE_HEADERS, bearer, make_token
from tests.support.browser_keys import browser_keys
from tests.support.replacing import ALICE, BOB, NO_USER, Headers, Service, serving
from tests.support.waiting import until


@pytest.fixture(scope="module")
def service(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(module_database_url, tmp_path_factory.mktemp("data")) as service:
        yield service


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


def at_the_same_moment(service: Service, requests: list[tuple[str, int, int]], *, held: list[str]) -> list[int]:
    """Replace (id, old, new) all at once: none goes on before all have come as far as the held rows let them."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def are_waiting() -> bool:
        with transaction(service.sessions) as session:
            return bool(session.scalars(waiting).one() == len(requests))

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


def test_without_credentials_the_address_is_what_requests_are_counted_by(service: Service) -> None:
    old, subscription_id = service.subscribe(ALICE)

    remaining = [
        int(service.replace(subscription_id, old, old, headers).headers["X-RateLimit-Remaining"])
        for headers in (None, NO_USER, ALICE, None)
    ]

    assert remaining[0] - remaining[1] == 1  # both are the same address
    assert remaining[1] - remaining[3] == 1  # alice was counted by her name
