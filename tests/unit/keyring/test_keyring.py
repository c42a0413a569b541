import pytest

from app.db.session import transaction
from app.keyring import retiring
from app.keyring.sealing import CannotUnseal, Seal
from app.keyring.service import Keyring, NoActiveKey, active_key, key_by_id, key_by_public
from app.models import DEFAULT_TENANT_ID
from app.push.keys import VapidKey
from tests.support.keyring import add_subscriptions


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


def start(sessions, pair, *, secret="secret"):
    """Let a process start with this pair in its variables, and return the active key."""
    with transaction(sessions) as session:
        return Keyring(secret).synchronise(session, pair)


def rotate(sessions, *, secret="secret", **how):
    with transaction(sessions) as session:
        return Keyring(secret).rotate(session, DEFAULT_TENANT_ID, **how)


def test_a_restart_with_the_same_variables_undoes_no_rotation(sessions):
    pair = VapidKey.generate()
    old = start(sessions, pair)
    new = rotate(sessions)

    after_restart = start(sessions, pair)

    assert after_restart.public_key == new.public_key != pair.public
    with transaction(sessions) as session:
        assert len(Keyring("secret").key_pairs(session, [old.id, new.id])) == 2


@pytest.mark.parametrize("is_back_to_the_first", [True, False])
def test_variables_that_change_after_a_rotation_make_their_pair_active(sessions, is_back_to_the_first):
    first, second = VapidKey.generate(), VapidKey.generate()
    start(sessions, first)
    start(sessions, second)
    rotate(sessions)
    changed = first if is_back_to_the_first else VapidKey.generate()

    active = start(sessions, changed)
    rotated = rotate(sessions)

    assert active.public_key == changed.public
    assert start(sessions, changed).id == rotated.id, "it is the same as at the last start"


def test_what_an_earlier_version_stored_is_only_marked(sessions):
    pair = VapidKey.generate()
    with transaction(sessions) as session:
        key_id = Keyring("secret").add(session, DEFAULT_TENANT_ID, pair).id

    active = start(sessions, pair)
    rotate(sessions)
    start(sessions, pair)

    with transaction(sessions) as session:
        stored = key_by_id(session, key_id)
    assert (active.id, stored.id) == (key_id, key_id)
    assert (stored.is_configured, stored.is_active) == (True, False)


@pytest.mark.parametrize("was_configured_last", [True, False])
def test_a_retired_pair_in_the_variables_stays_retired(sessions, was_configured_last, capsys):
    pair = VapidKey.generate()
    old = start(sessions, pair)
    new = rotate(sessions) if was_configured_last else start(sessions, VapidKey.generate())
    with transaction(sessions) as session:
        retiring.retire(session, old.id)

    active = start(sessions, pair)

    with transaction(sessions) as session:
        stored = key_by_id(session, old.id)
    assert active.id == new.id
    assert stored.retired_at is not None
    assert f"keys restore {pair.public[:8]}" in capsys.readouterr().out


def test_the_configured_pair_is_sealed_anew_also_when_another_is_active(sessions):
    pair = VapidKey.generate()
    old = start(sessions, pair)
    new = rotate(sessions, secret="another", whatever_opens=True)

    active = start(sessions, pair, secret="another")

    assert active.id == new.id
    with transaction(sessions) as session:
        assert Keyring("another").key_pairs(session, [old.id]) == {old.id: pair}


def test_a_key_that_somebody_needs_and_that_does_not_open_stops_the_start(sessions):
    first, second = VapidKey.generate(), VapidKey.generate()
    old = start(sessions, first)
    start(sessions, second)
    with transaction(sessions) as session:
        add_subscriptions(session, old.id)

    with pytest.raises(CannotUnseal, match=first.public[:8]) as refused:
        start(sessions, second, secret="another")

    assert "keys rotate --force" in str(refused.value)
    assert start(sessions, second).public_key == second.public, "nothing was sealed anew"


def test_a_key_that_the_service_could_not_open_is_not_made(sessions):
    before = start(sessions, None)

    with pytest.raises(CannotUnseal):
        rotate(sessions, secret="another")

    assert start(sessions, None).id == before.id
