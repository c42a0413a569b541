import ctypes
import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import http_ece
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from app.push import libcrypto
from app.push.curve import Agreement, CryptographyCurve, Curve, agree, point_of
from app.push.encryption import Plain, encrypt_all
from app.push.keys import InvalidSubscriptionKeys, decode_base64url, encode_base64url
from app.push.libcrypto import LibcryptoCurve, LibcryptoFailed, LibcryptoUnavailable, fastest_curve
from tests.unit.push.builders import AUTH

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="libcrypto is used on Linux only")

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
NOT_POINTS = {
    "not on the curve": b"\x04" + b"\x01" * 64,
    "zeros": b"\x04" + bytes(64),
    "beyond the field": b"\x04" + P.to_bytes(32, "big") + bytes(32),
    "the point at infinity": b"\x00",
    "nothing": b"",
    "a hybrid": b"\x06" + bytes(64),
    "a byte short": b"\x04" + b"\x01" * 63,
    "compressed": bytes.fromhex("036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"),
}


@pytest.fixture(params=["libcrypto", "cryptography"])
def curve(request: pytest.FixtureRequest) -> Curve:
    if request.param == "cryptography":
        return CryptographyCurve()
    curve = fastest_curve()
    if not isinstance(curve, LibcryptoCurve):
        pytest.skip("needs OpenSSL 3's libcrypto")
    return curve


@pytest.fixture
def no_curve_chosen_yet() -> Iterator[None]:
    fastest_curve.cache_clear()
    yield
    fastest_curve.cache_clear()


def browsers(count: int) -> list[ec.EllipticCurvePrivateKey]:
    return [ec.generate_private_key(ec.SECP256R1()) for _ in range(count)]


# More than libcrypto's desk holds at once, and not a multiple of it.
@pytest.mark.parametrize("count", [0, 1, 32, 75])
def test_every_browser_comes_to_the_same_secret_by_its_own_key(curve: Curve, count: int) -> None:
    keys = browsers(count)

    agreements = curve.agree_with_all([point_of(key) for key in keys])

    assert len(agreements) == count
    for key, agreement in zip(keys, agreements, strict=True):
        assert agreement is not None
        theirs = agree(key, agreement.own_point)
        assert theirs is not None
        assert theirs.shared_secret == agreement.shared_secret


def test_no_key_pair_is_used_twice(curve: Curve) -> None:
    points = [point_of(key) for key in browsers(1)] * 40

    first, second = curve.agree_with_all(points), curve.agree_with_all(points)

    assert len({agreement.own_point for agreement in (*first, *second) if agreement}) == 80


@pytest.mark.parametrize("point", NOT_POINTS.values(), ids=NOT_POINTS.keys())
def test_what_is_no_point_of_the_curve_gets_no_secret_and_harms_no_other(curve: Curve, point: bytes) -> None:
    [key] = browsers(1)

    before, none, after = curve.agree_with_all([point_of(key), point, point_of(key)])

    assert none is None
    for agreement in (before, after):
        assert agreement is not None
        theirs = agree(key, agreement.own_point)
        assert theirs is not None
        assert theirs.shared_secret == agreement.shared_secret


@on_linux
def test_a_point_that_was_refused_leaves_no_error_that_tls_would_take_for_its_own() -> None:
    library = libcrypto._load()

    LibcryptoCurve(library).agree_with_all([NOT_POINTS["not on the curve"]])

    assert library.ERR_peek_error() == 0


def test_threads_do_not_get_into_each_others_numbers(curve: Curve) -> None:
    keys = browsers(64)
    points = [point_of(key) for key in keys]
    wrong: list[int] = []

    def agree_often() -> None:
        for _ in range(5):
            agreements = curve.agree_with_all(points)
            for number, (key, agreement) in enumerate(zip(keys, agreements, strict=True)):
                theirs = agreement and agree(key, agreement.own_point)
                if not agreement or not theirs or theirs.shared_secret != agreement.shared_secret:
                    wrong.append(number)

    threads = [threading.Thread(target=agree_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_that_was_forked_off_makes_keys_of_its_own(curve: Curve) -> None:
    [key] = browsers(1)
    point = point_of(key)
    curve.agree_with_all([point])
    from_child, to_parent = os.pipe()

    child = os.fork()
    if child == 0:
        [agreement] = curve.agree_with_all([point])
        os.write(to_parent, agreement.own_point if agreement else b"")
        os._exit(0)
    os.waitpid(child, 0)
    [agreement] = curve.agree_with_all([point])

    theirs = os.read(from_child, 65)
    os.close(from_child)
    os.close(to_parent)
    assert agreement is not None
    assert len(theirs) == 65
    assert theirs != agreement.own_point


def test_what_is_encrypted_by_either_curve_is_read_by_another_library(curve: Curve) -> None:
    keys = browsers(40)
    plains = [Plain(b"hello", encode_base64url(point_of(key)), AUTH) for key in keys]

    bodies = encrypt_all(plains, curve=curve)

    auth = decode_base64url(AUTH)
    for key, body in zip(keys, bodies, strict=True):
        assert not isinstance(body, InvalidSubscriptionKeys)
        assert http_ece.decrypt(body, private_key=key, auth_secret=auth) == b"hello"


@on_linux
@pytest.mark.parametrize("name", libcrypto._candidates()[1:])
def test_the_library_that_pycurl_brings_can_be_used(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(libcrypto, "_candidates", lambda: [name])
    [key] = browsers(1)

    [agreement] = LibcryptoCurve(libcrypto._load()).agree_with_all([point_of(key)])

    assert agreement is not None
    theirs = agree(key, agreement.own_point)
    assert theirs is not None
    assert theirs.shared_secret == agreement.shared_secret


@on_linux
def test_the_library_that_pycurl_brings_is_one_to_choose() -> None:
    _systems, *others = libcrypto._candidates()

    mapped = Path("/proc/self/maps").read_text()
    assert set(others) == set(re.findall(r"/\S+/pycurl\.libs/libcrypto-\S+\.so\.3", mapped))


@on_linux
def test_a_thread_that_ends_gives_back_all_that_it_had() -> None:
    library, calls = libcrypto._load(), Counter[str]()

    class Counted:
        def __getattr__(self, name: str) -> Any:
            calls[name] += 1
            return getattr(library, name)

    curve = LibcryptoCurve(Counted())  # type: ignore[arg-type]
    thread = threading.Thread(target=curve.agree_with_all, args=([b""],))
    thread.start()
    thread.join()

    assert calls["BN_new"] == calls["BN_clear_free"] > 0
    assert calls["EC_POINT_new"] == calls["EC_POINT_clear_free"] > 0
    assert calls["BN_CTX_new"] == calls["BN_CTX_free"] == 1
    assert calls["EC_GROUP_new_by_curve_name"] == calls["EC_GROUP_free"] == 1


@pytest.mark.usefixtures("no_curve_chosen_yet")
@pytest.mark.parametrize("error", [LibcryptoUnavailable("none"), LibcryptoFailed("it disagrees")])
def test_without_a_libcrypto_that_can_be_used_cryptography_serves(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def load() -> ctypes.PyDLL:
        raise error

    monkeypatch.setattr(libcrypto, "_load", load)

    assert isinstance(fastest_curve(), CryptographyCurve)


@pytest.mark.usefixtures("no_curve_chosen_yet")
def test_a_libcrypto_that_comes_to_another_secret_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(CryptographyCurve):
        def __init__(self, _library: ctypes.PyDLL) -> None:
            pass

        def agree_with_all(self, points: Sequence[bytes]) -> list[Agreement | None]:
            agreements = super().agree_with_all(points)
            return [agreement and agreement._replace(shared_secret=bytes(32)) for agreement in agreements]

    monkeypatch.setattr(libcrypto, "LibcryptoCurve", Wrong)

    assert type(fastest_curve()) is CryptographyCurve


def test_a_system_whose_library_lacks_a_function_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libcrypto, "_candidates", lambda: ["libc.so.6"])

    with pytest.raises(LibcryptoUnavailable):
        libcrypto._load()
