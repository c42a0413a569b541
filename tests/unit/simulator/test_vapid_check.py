import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02

from app.simulator.vapid_check import VapidCheck, VapidProblem
from tests.unit.simulator.sending import SUBJECT, base64url, public_key_of, vapid_header

NOW = 1_800_000_000
ORIGIN = "https://127.0.0.1:8443"
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())


def problem_of(
    header: str | None,
    *,
    now: float = NOW,
    origin: str = ORIGIN,
    application_server_key: bytes | None = None,
    strict: bool = False,
) -> VapidProblem | None:
    return VapidCheck().problem_of(
        header,
        origin=origin,
        application_server_key=application_server_key,
        now=now,
        strict_subject=strict,
    )


def header_with(key: ec.EllipticCurvePrivateKey = KEY, **changes: Any) -> str:
    claims = {"aud": ORIGIN, "exp": NOW + 3600, "sub": SUBJECT} | changes
    return vapid_header(key, {name: value for name, value in claims.items() if value is not None})


def test_a_correct_header_is_accepted() -> None:
    assert problem_of(header_with()) is None


def test_a_header_by_py_vapid_is_accepted() -> None:
    vapid = Vapid02()
    vapid.generate_keys()
    claims = {"aud": ORIGIN, "sub": SUBJECT, "exp": int(time.time()) + 3600}

    header = vapid.sign(claims)["Authorization"]

    assert problem_of(header, now=time.time()) is None


@pytest.mark.parametrize("scheme", ["vapid", "VAPID", "Vapid"])
def test_the_scheme_is_read_in_any_case(scheme: str) -> None:
    assert problem_of(header_with().replace("vapid", scheme, 1)) is None


def test_the_parameters_may_come_in_any_order_without_spaces() -> None:
    token, key = header_with().removeprefix("vapid ").split(", ")

    assert problem_of(f"vapid {key},{token}") is None


def test_no_header_is_missing() -> None:
    assert problem_of(None) is VapidProblem.MISSING


@pytest.mark.parametrize(
    "header",
    [
        "",
        "vapid",
        "Bearer abc",
        "vapid t=a.b.c",
        pytest.param(f"vapid k={public_key_of(KEY)}", id="vapid k=KEY"),
        header_with().replace("vapid t=", "WebPush t="),
        header_with() + "=",  # padding, which RFC 8292 forbids
        header_with() + f", k={public_key_of(KEY)}",
        vapid_header(KEY, {"aud": ORIGIN, "exp": NOW}, k=base64url(b"\x04" + bytes(64))),
        vapid_header(KEY, {"aud": ORIGIN, "exp": NOW}, k=base64url(b"\x04" * 64)),
        f"vapid t=e30.e30.{base64url(bytes(64))}, k={public_key_of(KEY)}",
        f"vapid t=W10.W10.{base64url(bytes(64))}, k={public_key_of(KEY)}",
        f"vapid t=!.e30.e30, k={public_key_of(KEY)}",
        f"vapid t={jwt.encode({'aud': ORIGIN}, 'a' * 32, 'HS256')}, k={public_key_of(KEY)}",
    ],
)
def test_what_is_no_vapid_header_is_malformed(header: str) -> None:
    assert problem_of(header) is VapidProblem.MALFORMED


@pytest.mark.parametrize("expiry", [None, "soon", True, str(NOW + 60)])
def test_an_expiry_that_is_no_number_is_malformed(expiry: Any) -> None:
    assert problem_of(header_with(exp=expiry)) is VapidProblem.MALFORMED


def test_a_signature_by_another_key_is_noticed() -> None:
    header = vapid_header(OTHER_KEY, {"aud": ORIGIN, "exp": NOW + 3600, "sub": SUBJECT}, k=public_key_of(KEY))

    assert problem_of(header) is VapidProblem.BAD_SIGNATURE


def test_claims_changed_after_signing_are_noticed() -> None:
    header = header_with()
    head, _claims, signature = header.removeprefix("vapid t=").split(",")[0].split(".")
    forged = base64url(json.dumps({"aud": ORIGIN, "exp": NOW + 60, "sub": SUBJECT}).encode())

    problem = problem_of(f"vapid t={head}.{forged}.{signature}, k={public_key_of(KEY)}")

    assert problem is VapidProblem.BAD_SIGNATURE


@pytest.mark.parametrize(
    "audience",
    [
        None,
        "https://127.0.0.1",
        "http://127.0.0.1:8443",
        "https://127.0.0.1:8443/",
        "https://127.0.0.2:8443",
        [ORIGIN],
    ],
)
def test_the_audience_is_the_exact_origin_with_its_port(audience: Any) -> None:
    assert problem_of(header_with(aud=audience)) is VapidProblem.WRONG_AUDIENCE


@pytest.mark.parametrize("expiry", [NOW, NOW - 1, 0])
def test_a_token_past_its_expiry_is_expired(expiry: int) -> None:
    assert problem_of(header_with(exp=expiry)) is VapidProblem.EXPIRED


def test_a_token_may_live_for_24_hours_and_not_longer() -> None:
    assert problem_of(header_with(exp=NOW + 86_400)) is None
    assert problem_of(header_with(exp=NOW + 86_401)) is VapidProblem.TOO_FAR_AHEAD


def test_a_header_that_was_right_once_still_expires() -> None:
    check = VapidCheck()
    header = header_with()

    first, later = (
        check.problem_of(header, origin=ORIGIN, application_server_key=None, now=now, strict_subject=False)
        for now in (NOW, NOW + 3600)
    )

    assert first is None
    assert later is VapidProblem.EXPIRED


@pytest.mark.parametrize("subject", [None, "", "push@example.com", "http://example.com", "mailto:", 7])
def test_a_subject_is_a_mailto_or_https_address(subject: Any) -> None:
    assert problem_of(header_with(sub=subject)) is VapidProblem.BAD_SUBJECT


@pytest.mark.parametrize(
    "subject",
    [
        "mailto:push@localhost",
        "mailto:push@printer.local",
        "mailto:push@example.invalid",
        "mailto: push@example.com",
        "mailto:<push@example.com>",
        "mailto:example.com",
        "https://localhost",
        "https://service.local/contact",
    ],
)
def test_only_the_strict_refuse_a_subject_that_nobody_can_reach(subject: str) -> None:
    header = header_with(sub=subject)

    assert problem_of(header, strict=True) is VapidProblem.BAD_SUBJECT
    assert problem_of(header) is None


@pytest.mark.parametrize("subject", ["mailto:push@example.com", "https://example.com/contact"])
def test_the_strict_accept_a_subject_that_can_be_reached(subject: str) -> None:
    assert problem_of(header_with(sub=subject), strict=True) is None


def test_the_key_is_the_one_the_subscription_was_made_with() -> None:
    header = header_with()

    assert problem_of(header, application_server_key=point_of(KEY)) is None
    assert problem_of(header, application_server_key=point_of(OTHER_KEY)) is VapidProblem.WRONG_KEY


def point_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
