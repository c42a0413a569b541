import pytest

from app.db.session import transaction
from app.keyring.sealing import CannotUnseal, Seal
from app.keyring.service import Keyring, NoActiveKey, active_key, key_by_public
from app.models import DEFAULT_TENANT_ID
from app.push.keys import VapidKey


def test_what_is_sealed_opens_again_in_its_place():
    seal = Seal("secret")

    sealed = seal.seal(b"private", context=b"row 1")

    assert b"private" not in sealed
    assert seal.open(sealed, context=b"row 1") == b"private"


@pytest.mark.parametrize(("secret", "context"), [("another", b"row 1"), ("secret", b"row 2")])
def test_another_key_or_another_place_does_not_open_it(secret, context):
    sealed = Seal("secret").seal(b"private", context=b"row 1")

    with pytest.raises(CannotUnseal):
        Seal(secret).open(sealed, context=context)


@pytest.mark.parametrize("broken", [b"", b"\x01", b"\x02" + bytes(40), b"\x01" + bytes(40)])
def test_broken_bytes_do_not_open(broken):
    with pytest.raises(CannotUnseal):
        Seal("secret").open(broken, context=b"row 1")


def test_the_first_start_generates_a_key_and_the_next_keeps_it(sessions):
    with transaction(sessions) as session:
        first = Keyring("secret").synchronise(session, None).public_key
    with transaction(sessions) as session:
        second = Keyring("secret").synchronise(session, None).public_key

    assert first == second


def test_a_changed_pair_becomes_active_while_the_old_one_keeps_signing(sessions):
    old, new = VapidKey.generate(), VapidKey.generate()
    keyring = Keyring("secret")
    with transaction(sessions) as session:
        old_id = keyring.synchronise(session, old).id

    with transaction(sessions) as session:
        keyring.synchronise(session, new)
        active = active_key(session, DEFAULT_TENANT_ID)
        pairs = Keyring("secret").key_pairs(session, [old_id, active.id])

    assert active.public_key == new.public
    assert pairs == {old_id: old, active.id: new}


def test_going_back_to_an_earlier_pair_activates_its_row_again(sessions):
    old, new = VapidKey.generate(), VapidKey.generate()
    for pair in (old, new, old):
        with transaction(sessions) as session:
            Keyring("secret").synchronise(session, pair)

    with transaction(sessions) as session:
        assert active_key(session, DEFAULT_TENANT_ID).public_key == old.public
        assert key_by_public(session, DEFAULT_TENANT_ID, new.public) is not None


def test_another_secret_key_is_noticed_at_the_start(sessions):
    with transaction(sessions) as session:
        Keyring("secret").synchronise(session, None)

    with transaction(sessions) as session, pytest.raises(CannotUnseal, match="SECRET_KEY"):
        Keyring("another").synchronise(session, None)


def test_a_configured_pair_survives_a_change_of_the_secret_key(sessions):
    pair = VapidKey.generate()
    with transaction(sessions) as session:
        key_id = Keyring("secret").synchronise(session, pair).id

    with transaction(sessions) as session:
        Keyring("another").synchronise(session, pair)

    with transaction(sessions) as session:
        assert Keyring("another").key_pairs(session, [key_id]) == {key_id: pair}


def test_going_back_to_a_pair_stored_under_another_secret_key_makes_it_usable(sessions):
    old, new = VapidKey.generate(), VapidKey.generate()
    with transaction(sessions) as session:
        old_id = Keyring("secret").synchronise(session, old).id
        Keyring("secret").synchronise(session, new)

    with transaction(sessions) as session:
        Keyring("another").synchronise(session, old)

    with transaction(sessions) as session:
        assert active_key(session, DEFAULT_TENANT_ID).id == old_id
        assert Keyring("another").key_pairs(session, [old_id]) == {old_id: old}


def test_without_a_key_there_is_a_clear_refusal(sessions):
    with transaction(sessions) as session, pytest.raises(NoActiveKey):
        active_key(session, DEFAULT_TENANT_ID)
