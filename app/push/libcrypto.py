"""P-256 by OpenSSL 3's libcrypto, the system's or the one that pycurl's wheel brings, called by ctypes.

`cryptography` makes an object of each key, which OpenSSL then copies into another of its own: a third of what a
message takes to encrypt. Here are only points and numbers; the arithmetic is OpenSSL's, in constant time.
"""

import ctypes
import logging
import sys
import threading
import weakref
from collections.abc import Sequence
from ctypes import c_char_p, c_int, c_size_t, c_void_p
from functools import cache
from itertools import compress
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from app.push.curl_library import pycurl
from app.push.curve import Agreement, CryptographyCurve, Curve, agree, point_of

_SYSTEMS = "libcrypto.so.3"
_P256 = 415  # OpenSSL's number for it, NID_X9_62_prime256v1
_COORDINATE_BYTES = 32
_UNCOMPRESSED = b"\x04"  # then x and y (SEC 1 section 2.3.3)
_POINT_BYTES = 1 + 2 * _COORDINATE_BYTES
_AT_ONCE = 32

# What each function returns and takes. A pointer that OpenSSL gives is a c_void_p, whatever it points to.
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "ERR_clear_error": (None, ()),
    "EC_GROUP_new_by_curve_name": (c_void_p, (c_int,)),
    "EC_GROUP_free": (None, (c_void_p,)),
    "EC_GROUP_get0_order": (c_void_p, (c_void_p,)),
    "BN_CTX_new": (c_void_p, ()),
    "BN_CTX_free": (None, (c_void_p,)),
    "BN_new": (c_void_p, ()),
    "BN_clear_free": (None, (c_void_p,)),
    "BN_priv_rand_range": (c_int, (c_void_p, c_void_p)),
    "EC_POINT_new": (c_void_p, (c_void_p,)),
    "EC_POINT_clear_free": (None, (c_void_p,)),
    "EC_POINT_mul": (c_int, (c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p)),
    "EC_POINT_oct2point": (c_int, (c_void_p, c_void_p, c_char_p, c_size_t, c_void_p)),
    "EC_POINTs_make_affine": (c_int, (c_void_p, c_size_t, c_void_p, c_void_p)),
    "EC_POINT_get_Jprojective_coordinates_GFp": (
        c_int,
        (c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p),
    ),
    "BN_bn2binpad": (c_int, (c_void_p, c_void_p, c_int)),
}

_log = logging.getLogger(__name__)


class LibcryptoUnavailable(Exception):
    """This system has no libcrypto that can be used here."""


class LibcryptoFailed(RuntimeError):
    """libcrypto could not do what it can always do: there is no memory, or no randomness."""


@cache
def fastest_curve() -> Curve:
    """Return libcrypto's curve where there is one that agrees with `cryptography`, else that one's."""
    try:
        curve = LibcryptoCurve(_load())
        _check(curve)
    except (LibcryptoUnavailable, LibcryptoFailed) as error:
        _log.info("encrypting without libcrypto: %s", error)
        return CryptographyCurve()
    return curve


class LibcryptoCurve:
    """The curve by a loaded libcrypto. See the protocol, curve.Curve."""

    def __init__(self, library: ctypes.PyDLL) -> None:
        self._library = library
        self._of_thread = threading.local()

    def agree_with_all(self, points: Sequence[bytes]) -> list[Agreement | None]:
        desk: _Desk | None = getattr(self._of_thread, "desk", None)
        if desk is None:
            desk = self._of_thread.desk = _Desk(self._library)
        agreements: list[Agreement | None] = []
        for first in range(0, len(points), _AT_ONCE):
            agreements += desk.agree_with_some(points[first : first + _AT_ONCE])
        return agreements


class _Desk:
    """The numbers and points that one thread works with, made once.

    Each is overwritten by the thread's next agreements, or when the thread has ended.
    """

    def __init__(self, library: ctypes.PyDLL) -> None:
        self._library = library
        self._group = _made(library.EC_GROUP_new_by_curve_name(_P256))
        self._order = _made(library.EC_GROUP_get0_order(self._group))
        self._context = _made(library.BN_CTX_new())
        self._private_keys = [_made(library.BN_new()) for _ in range(_AT_ONCE)]
        self._own_points = [_made(library.EC_POINT_new(self._group)) for _ in range(_AT_ONCE)]
        self._points = [_made(library.EC_POINT_new(self._group)) for _ in range(_AT_ONCE)]
        self._x, self._y = _made(library.BN_new()), _made(library.BN_new())
        self._coordinate = ctypes.create_string_buffer(_COORDINATE_BYTES)
        numbers, points = [*self._private_keys, self._x, self._y], [*self._own_points, *self._points]
        weakref.finalize(self, _free, library, numbers, points, self._context, self._group).atexit = False

    def agree_with_some(self, browsers: Sequence[bytes]) -> list[Agreement | None]:
        """Agree with at most _AT_ONCE browsers, operation by operation: see CryptographyCurve."""
        rows = list(zip(browsers, self._private_keys, self._own_points, self._points, strict=False))
        for _, private_key, own_point, _ in rows:
            self._make_a_key_pair(private_key, own_point)
        is_good = [self._read(browser, point) for browser, _, _, point in rows]
        agreed = list(compress(rows, is_good))
        for _, private_key, _, point in agreed:
            self._multiply(point, private_key)
        self._normalize([point for row in agreed for point in row[2:]])
        agreements = iter(
            [Agreement(self._both(own_point), self._x_of(point)) for _, _, own_point, point in agreed]
        )
        return [next(agreements) if is_on_curve else None for is_on_curve in is_good]

    def _make_a_key_pair(self, private_key: c_void_p, own_point: c_void_p) -> None:
        library = self._library
        if not library.BN_priv_rand_range(private_key, self._order) or not library.EC_POINT_mul(
            self._group, own_point, private_key, None, None, self._context
        ):
            raise LibcryptoFailed("no key pair could be made")

    def _multiply(self, point: c_void_p, private_key: c_void_p) -> None:
        if not self._library.EC_POINT_mul(self._group, point, None, point, private_key, self._context):
            raise LibcryptoFailed("no secret could be agreed on")

    def _read(self, browser: bytes, point: c_void_p) -> bool:
        """Read a browser's point. False when it is none of the curve's, which OpenSSL sees to."""
        has_form = len(browser) == _POINT_BYTES and browser[:1] == _UNCOMPRESSED
        if has_form and self._library.EC_POINT_oct2point(self._group, point, browser, len(browser), self._context):
            return True
        # Left in its queue, the error would be taken for one of TLS, which this thread may use next.
        self._library.ERR_clear_error()
        return False

    def _normalize(self, points: Sequence[c_void_p]) -> None:
        """Bring points to a form in which their coordinates can be read: one division for all of them together."""
        array = (c_void_p * len(points))(*points)
        if not self._library.EC_POINTs_make_affine(self._group, len(points), array, self._context):
            raise LibcryptoFailed("the points could not be normalized")

    def _both(self, point: c_void_p) -> bytes:
        """Return a normalized point, uncompressed."""
        self._look_at(point, self._y)
        return _UNCOMPRESSED + self._written(self._x) + self._written(self._y)

    def _x_of(self, point: c_void_p) -> bytes:
        """Return what a normalized point says as a secret: its x alone (SEC 1 section 3.3.1)."""
        self._look_at(point, None)
        return self._written(self._x)

    def _look_at(self, point: c_void_p, y: c_void_p | None) -> None:
        # The third coordinate of a normalized point is 1. It is 0 for the point at infinity alone, which only a
        # private key of 0 leads to: all points of this curve have its order, and one in 2^256 keys is 0.
        look = self._library.EC_POINT_get_Jprojective_coordinates_GFp
        if not look(self._group, point, self._x, y, None, self._context):
            raise LibcryptoFailed("a point could not be read")

    def _written(self, number: c_void_p) -> bytes:
        if self._library.BN_bn2binpad(number, self._coordinate, _COORDINATE_BYTES) != _COORDINATE_BYTES:
            raise LibcryptoFailed("a coordinate could not be written")
        return self._coordinate.raw


def _made(pointer: int | None) -> c_void_p:
    if not pointer:
        raise LibcryptoFailed("there is no memory, or no such curve")
    return c_void_p(pointer)


def _free(
    library: ctypes.PyDLL,
    numbers: Sequence[c_void_p],
    points: Sequence[c_void_p],
    context: c_void_p,
    group: c_void_p,
) -> None:
    for number in numbers:
        library.BN_clear_free(number)
    for point in points:
        library.EC_POINT_clear_free(point)
    library.BN_CTX_free(context)
    library.EC_GROUP_free(group)


def _load() -> ctypes.PyDLL:
    """Load the system's libcrypto. Raises LibcryptoUnavailable."""
    if not sys.platform.startswith("linux"):
        raise LibcryptoUnavailable("it is used on Linux only")  # macOS ends a process that loads its own
    for name in _candidates():
        try:
            # With the interpreter's lock held: to let it go and take it again for microseconds costs more.
            library = ctypes.PyDLL(name)
            for function, (result, arguments) in _SIGNATURES.items():
                found = getattr(library, function)
                found.restype, found.argtypes = result, arguments
        except (OSError, AttributeError):
            continue
        return library
    raise LibcryptoUnavailable("there is none of OpenSSL 3")


def _candidates() -> list[str]:
    if pycurl is None:
        return [_SYSTEMS]
    packages = Path(pycurl.__file__).parent.parent
    return [_SYSTEMS, *map(str, packages.glob("pycurl.libs/libcrypto-*.so.3"))]


def _check(curve: Curve) -> None:
    """Raise LibcryptoFailed unless the curve comes to the same secret as `cryptography`."""
    browser = generate_private_key(SECP256R1())
    [agreement] = curve.agree_with_all([point_of(browser)])
    theirs = agreement and agree(browser, agreement.own_point)
    if not agreement or not theirs or theirs.shared_secret != agreement.shared_secret:
        raise LibcryptoFailed("it disagrees with cryptography")
