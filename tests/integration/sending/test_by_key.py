"""A notification by the key it was sent with, whatever characters that is made of."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from tests.integration.sending.conftest import Service
from tests.support.api import build_settings
from tests.support.databases import temporary_database


@pytest.fixture(scope="module")
def service(postgres_url, template_database, tmp_path_factory) -> Iterator[Service]:
    """One app for all of these: each has keys of its own."""
    data_dir = tmp_path_factory.mktemp("data")
    with (
        temporary_database(postgres_url, template=template_database) as url,
        TestClient(create_app(build_settings(database_url=url, data_dir=data_dir))) as client,
    ):
        yield Service(client)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("8e03978e-40d5", "8e03978e-40d5"),
        ("orders/4711", "orders%2F4711"),
        ("users/7/mails", "users/7/mails"),
        ("ends in one/", "ends%20in%20one%2F"),
        ("50% off? #1 now!", "50%25%20off%3F%20%231%20now!"),
        ("deliveries", "deliveries"),
        ("a%2Fb", "a%252Fb"),
        ('"in quotes"', "%22in%20quotes%22"),
        ('"sent in quotes"', "sent%20in%20quotes"),
        ("asked in quotes", "%22asked%20in%20quotes%22"),
    ],
)
def test_a_notification_is_found_by_its_key_however_that_looks(service, key, path):
    sent = service.send(key=key).json()

    found = service.by_key(path)
    with_slash = service.by_key(f"{path}/")

    assert (found.status_code, found.json()["id"]) == (200, sent["notification_id"])
    assert with_slash.json() == found.json() == service.look_up(sent["notification_id"])


def test_a_slash_at_the_end_of_a_key_is_its_own_only_when_it_is_encoded(service):
    service.send(key="orders")

    assert (service.by_key("orders/").status_code, service.by_key("orders%2F").status_code) == (200, 404)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("unknown", 404),
        ("", 422),
        ("/", 422),
        ("k%C3%A4se", 422),
        ("%00", 422),
        ("x%0A", 422),
        ("%22x", 422),
        ("x" * 256, 422),
    ],
)
def test_a_key_that_nothing_is_stored_under_is_a_problem(service, path, status):
    answer = service.by_key(path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
