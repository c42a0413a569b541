from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import func, insert, select

from app.db.session import transaction
from app.models import DEFAULT_TENANT_ID, IdempotencyKey
from app.notifications import idempotency
from app.notifications.idempotency import KEPT_FOR, Key, purge
from app.notifications.schemas import BroadcastRequest, SendRequest

CONTENT = {"title": "Hello", "body": "World"}


def hash_of(kind, json):
    return Key.of(DEFAULT_TENANT_ID, "key", kind.model_validate_json(json)).request_hash


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"title":"Hello","body":"World"}', '{ "body" : "W\\u006frld", "title": "Hello" }'),
        ('{"title":"a","body":"b"}', '{"title":"a","body":"b","urgency":"normal","type":"general","ttl":null}'),
        ('{"title":"a","body":"b","data":{"x":1,"y":2}}', '{"title":"a","body":"b","data":{"y":2,"x":1}}'),
        (
            '{"title":"a","body":"b","scheduled_at":"2027-01-01T00:00:00Z"}',
            '{"title":"a","body":"b","scheduled_at":"2027-01-01T01:00:00+01:00"}',
        ),
    ],
    ids=["formatting", "defaults", "order", "offset"],
)
def test_what_says_the_same_is_the_same_request(one, other):
    assert hash_of(BroadcastRequest, one) == hash_of(BroadcastRequest, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"title":"a","body":"b"}', '{"title":"a","body":"c"}'),
        ('{"title":"a","body":"b"}', '{"title":"a","body":"b","ttl":0}'),
        ('{"title":"a","body":"b","data":{"x":1}}', '{"title":"a","body":"b","data":{"x":"1"}}'),
    ],
)
def test_what_says_something_else_is_another_request(one, other):
    assert hash_of(BroadcastRequest, one) != hash_of(BroadcastRequest, other)


def test_a_send_is_no_broadcast():
    json = '{"title":"a","body":"b","topics":["a"]}'

    assert hash_of(SendRequest, json) != hash_of(BroadcastRequest, json.replace(',"topics":["a"]', ""))


def test_every_tenants_key_has_a_lock_of_its_own():
    keys = [Key(DEFAULT_TENANT_ID, "a"), Key(DEFAULT_TENANT_ID, "b"), Key(uuid4(), "a")]

    assert len({key.lock for key in keys}) == 3
    assert all(-(2**63) <= key.lock < 2**63 for key in keys)


def test_old_keys_are_purged_the_oldest_first_and_so_many_at_once(sessions, monkeypatch):
    monkeypatch.setattr(idempotency, "PURGED_AT_ONCE", 2)
    ages = {"new": timedelta(0), "kept": KEPT_FOR - timedelta(minutes=1)}
    ages |= {f"old {days}": KEPT_FOR + timedelta(days=days) for days in (1, 2, 3)}
    with transaction(sessions) as session:
        for key, age in ages.items():
            session.execute(
                insert(IdempotencyKey).values(
                    tenant_id=DEFAULT_TENANT_ID, key=key, request_hash=b"", created_at=func.now() - age
                )
            )

    purge(sessions)
    first = stored_keys(sessions)
    purge(sessions)

    assert first == {"new", "kept", "old 1"}
    assert stored_keys(sessions) == {"new", "kept"}


def stored_keys(sessions):
    with transaction(sessions) as session:
        return set(session.scalars(select(IdempotencyKey.key)))
